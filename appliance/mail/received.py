"""The lines that a mail system adds to a message, and the loops they uncover (RFC 5321 section 4.4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from appliance.mail.dates import format_date

if TYPE_CHECKING:
    from appliance.mail.address import Address
    from appliance.mail.message import Message
    from appliance.mail.session import TlsInfo

MAX_HOPS = 50  # Received fields of a message that is still taken
MAX_NAME = 255  # octets of a peer's name that are written down

_UNSAFE = re.compile(r"[\x00-,/;-@\\^`{-\xa0\u2028\u2029\ud800-\udfff]")
_UNSAFE_COMMENT = re.compile(r"[^A-Za-z0-9 ._/+=:-]")


def protocol_name(
    *, esmtp: bool = True, tls: bool = False, authenticated: bool = False, smtputf8: bool = False, lmtp: bool = False
) -> str:
    """The word after "with" in a Received field (RFC 3848, RFC 6531 section 4.3)."""
    if not esmtp:
        return "SMTP"
    family = "LMTP" if lmtp else "SMTP"
    name = f"UTF8{family}" if smtputf8 else family if lmtp else "ESMTP"
    return name + "S" * tls + "A" * authenticated


def received_field(
    *,
    helo: str,
    peer_ip: str,
    by: str,
    protocol: str,
    trace_id: str,
    at: float,
    peer_name: str = "",
    recipient: Address | None = None,
    priority: int = 0,
    tls: TlsInfo | None = None,
    offset_minutes: int = 0,
    doubt: str = "",
) -> bytes:
    """A whole Received field with its line end (RFC 5321 section 4.4).

    `helo` and `peer_name` (from reverse DNS) come from the peer: what could break the line or a comment is replaced.
    `recipient` only with a single one, or blind copies would be disclosed. A `priority` other than 0 gets its clause
    (RFC 6710 section 7). `at` is in epoch seconds; a word of `doubt`
    about it becomes a comment behind the date.
    """
    peer = f"{_name(peer_name)} " if peer_name else ""
    source = f"{peer}[{_literal(peer_ip)}]" if peer_ip else "local"
    lines = [
        f"Received: from {_name(helo) or 'unknown'} ({source})",
        f"\tby {_name(by)} (Palomar) with {protocol} id {_name(trace_id)}",
    ]
    if tls is not None:
        cipher = _UNSAFE_COMMENT.sub("?", f"version={tls.version} cipher={tls.cipher} bits={tls.bits}")
        lines.append(f"\t({cipher})")
    if recipient is not None:
        lines.append(f"\tfor <{recipient}>")
    if priority:
        lines.append(f"\tPRIORITY {priority}")
    lines[-1] += ";"
    remark = f" (clock {_UNSAFE_COMMENT.sub('?', doubt)})" if doubt else ""
    lines.append(f"\t{format_date(at, offset_minutes)}{remark}")
    return "\r\n".join(lines).encode() + b"\r\n"


def _name(text: str) -> str:
    return _UNSAFE.sub("?", text[:MAX_NAME])


def _literal(ip: str) -> str:
    return f"IPv6:{_name(ip)}" if ":" in ip else _name(ip)


def return_path(sender: Address | None) -> bytes:
    """The Return-Path line of a final delivery; `<>` for the null sender (RFC 5321 section 4.4)."""
    return f"Return-Path: <{sender or ''}>\r\n".encode()


def delivered_to(address: Address | str) -> bytes:
    """The Delivered-To line, by which a later delivery to the same address is seen as a loop (RFC 9228)."""
    return f"Delivered-To: {address}\r\n".encode()


def message_id(token: str, hostname: str) -> bytes:
    """A whole Message-ID field of a random token and our name (RFC 5322 section 3.6.4)."""
    return f"Message-ID: <{_name(token)}@{_name(hostname)}>\r\n".encode()


def date_field(at: float, offset_minutes: int = 0) -> bytes:
    """A whole Date field, for mail that came without one (RFC 6409 section 8.1)."""
    return f"Date: {format_date(at, offset_minutes)}\r\n".encode()


def count_received(message: Message) -> int:
    """How many systems have handled the message: the number of its Received fields."""
    return [field.name for field in message.fields()].count(b"received")


def is_tls_optional(message: Message) -> bool:
    """Whether the header has one field `TLS-Required: No`, by which no policy of the recipient's domain may stop the
    message (RFC 8689 section 4.1). Whoever asked for REQUIRETLS is not asked here.
    """
    values = [field.value for field in message.fields() if field.name == b"tls-required"]
    return len(values) == 1 and values[0].lower() == b"no"


def was_delivered_to(message: Message, address: Address | str) -> bool:
    """Whether the message was delivered to `address` before: by then it runs in a circle (RFC 9228 section 4)."""
    own = str(address).lower()
    return any(value.strip().decode("utf-8", "replace").lower() == own for value in message.get_all(b"delivered-to"))
