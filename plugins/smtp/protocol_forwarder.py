"""What another server says about who is behind it: the attributes of XCLIENT and XFORWARD.

Neither is an RFC: Postfix's XCLIENT_README and XFORWARD_README define them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from appliance.wire.smtp import GrammarError, xtext_decode

MAX_VALUE = 255  # octets of a value, before and after its xtext is resolved
UNKNOWN_IP = "0.0.0.0"  # stands for a peer whose address is not known: in no network of anybody, and not this machine

_ABSENT = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]", "[TEMPORARY]"})
_PORT = re.compile(r"\d{1,5}", re.ASCII)
_WORD = re.compile(r"[!-~]+")
_HELLO = re.compile(r"[A-Za-z0-9._:%\[\]-]+")  # what our own people may call their machines
_SPECIAL = frozenset('()<>,;\\"')  # of header fields: what is told may come to stand in one


def attributes(argument: str, names: Mapping[str, Callable[[str], str]]) -> dict[str, str]:
    """Read `NAME=value …`; a value that is not available is empty. Each name's function checks its values.

    Raises GrammarError, whose text says which one is bad.
    """
    found: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        key = name.upper()
        if not equals or key not in names:
            raise _bad(f"attribute {key[:20]!r}" if key.isprintable() and key.isascii() else "attribute")
        if key in found or len(value) > MAX_VALUE:
            raise _bad(key)
        found[key] = "" if value.upper() in _ABSENT else names[key](_decoded(key, value))
    if not found:
        raise _bad("attribute")
    return found


def _decoded(key: str, value: str) -> str:
    try:
        text = xtext_decode(value)
    except GrammarError:
        text = value if "+" not in value and "=" not in value else ""  # Postfix before 2.3 did not encode
    if text.upper() in _ABSENT or not _WORD.fullmatch(text):
        raise _bad(key)
    return text


def _bad(what: str) -> GrammarError:
    return GrammarError(f"Bad {what}")


def _word(key: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if _SPECIAL.intersection(text):
            raise _bad(key)
        return text

    return check


def _address(key: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        six = text[:5].upper() == "IPV6:"
        try:
            address = ipaddress.ip_address(text[5:] if six else text)
        except ValueError:
            raise _bad(key) from None
        if (address.version == 6) != six or "%" in text:
            raise _bad(key)
        mapped = getattr(address, "ipv4_mapped", None)
        return str(mapped or address)

    return check


def _port(key: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not _PORT.fullmatch(text) or int(text) > 65535:
            raise _bad(key)
        return text

    return check


def _one_of(key: str, *words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text.upper() not in words:
            raise _bad(key)
        return text.upper()

    return check


def _hello(text: str) -> str:
    if not _HELLO.fullmatch(text):
        raise _bad("HELO")
    return text


def _login(text: str) -> str:
    return text  # whether there is such an account is the session's business


XCLIENT: Mapping[str, Callable[[str], str]] = {
    "NAME": _word("NAME"),
    "REVERSE_NAME": _word("REVERSE_NAME"),
    "ADDR": _address("ADDR"),
    "PORT": _port("PORT"),
    "PROTO": _one_of("PROTO", "SMTP", "ESMTP"),
    "HELO": _hello,
    "LOGIN": _login,
    "DESTADDR": _address("DESTADDR"),
    "DESTPORT": _port("DESTPORT"),
}

# Here nothing has to be of SMTP: mail may have come by UUCP, from a host that is known by a number only.
XFORWARD: Mapping[str, Callable[[str], str]] = {
    "NAME": _word("NAME"),
    "ADDR": _word("ADDR"),
    "PORT": _port("PORT"),
    "PROTO": _word("PROTO"),
    "HELO": _word("HELO"),
    "IDENT": _word("IDENT"),
    "SOURCE": _one_of("SOURCE", "LOCAL", "REMOTE"),
}
