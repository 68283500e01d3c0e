"""What a content filter or a server behind us is told of a message's client, by XFORWARD (Postfix's XFORWARD_README).

The Received field that we have put in front of the message says all of it, so nothing else has to be kept. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.mail.message import Message
from appliance.wire.smtp import xtext_encode

MAX_LINE = 500  # octets of one command; the extension leaves the 512 of SMTP as they are
MAX_VALUE = 255

_ABSENT = "[UNAVAILABLE]"
# As appliance.mail.received writes it.
_OURS = re.compile(
    rb"from (?P<helo>\S+) \((?:\S+ )?(?:\[(?P<ip>[0-9A-Za-z:.]+)\]|local)\)"
    rb"\s+by \S+ \(Palomar\) with (?P<protocol>[A-Z0-9]+) id (?P<ident>[^\s;]+)"
)


def forwarding(offered: str, message: Message) -> list[str]:
    """The arguments of the XFORWARD commands for a message; `offered` are the attributes that EHLO announced.

    What did not come to us by SMTP or LMTP is told of as local.
    """
    told = _told(message)
    words = [f"{name}={told.get(name, _ABSENT)}" for name in dict.fromkeys(offered.upper().split()) if name in _NAMES]
    return list(_lines(words))


_NAMES = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"})


def _told(message: Message) -> dict[str, str]:
    received = message.get_all(b"received")[:1]
    found = _OURS.match(received[0].strip()) if received else None
    if found is None:
        return {"SOURCE": "LOCAL"}
    parts = {name: value.decode("ascii", "replace") for name, value in found.groupdict(b"").items()}
    told = {"SOURCE": "REMOTE" if parts["ip"] else "LOCAL", "IDENT": parts["ident"]}
    if parts["ip"]:
        family = "LMTP" if "LMTP" in parts["protocol"] else "SMTP" if parts["protocol"] == "SMTP" else "ESMTP"
        told |= {"ADDR": parts["ip"], "HELO": parts["helo"], "PROTO": family}
    return {name: xtext_encode(value) for name, value in told.items() if value.isascii() and len(value) <= MAX_VALUE}


def _lines(words: list[str]) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > MAX_LINE - len("XFORWARD "):
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    if line:
        yield line
