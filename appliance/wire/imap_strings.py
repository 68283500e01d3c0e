"""Strings of the IMAP grammar, and mailbox names (RFC 3501 sections 4.3, 5.1.3 and 9)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

_NOT_QUOTABLE = bytes((0, 10, 13, *range(128, 256)))  # octets that a quoted string cannot hold
_NEEDS_CARE = _NOT_QUOTABLE + b'"\\'
_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~\]]++")  # ASTRING-CHAR
_SHIFTED = re.compile(r"[^\x20-\x7e]++|&")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNSHIFT = re.compile(rb"&([^-]*+)-")


def quoted(value: bytes | str) -> bytes:
    """A quoted string. Raises ValueError on octets that only a literal can carry."""
    octets = value.encode() if isinstance(value, str) else value
    if len(octets.translate(None, _NOT_QUOTABLE)) != len(octets):
        raise ValueError("not fit for a quoted string")
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def literal(octets: bytes) -> bytes:
    """A literal. NUL is not allowed in one (CHAR8) and is left out."""
    octets = octets.replace(b"\0", b"")
    return b"{%d}\r\n%b" % (len(octets), octets)


def string(value: bytes | str) -> bytes:
    """A quoted string where the octets allow it, otherwise a literal."""
    octets = value.encode() if isinstance(value, str) else value
    if len(octets.translate(None, _NEEDS_CARE)) == len(octets):
        return b'"' + octets + b'"'
    if len(octets.translate(None, _NOT_QUOTABLE)) == len(octets):
        return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return literal(octets)


def nstring(value: bytes | str | None) -> bytes:
    """A string, or NIL for None."""
    return b"NIL" if value is None else string(value)


def astring(value: bytes | str) -> bytes:
    """An atom where the octets allow it, otherwise a string."""
    octets = value.encode() if isinstance(value, str) else value
    if _ATOM.fullmatch(octets) and octets.upper() != b"NIL":
        return octets
    return string(octets)


def encode_mailbox(name: str) -> bytes:
    """The modified UTF-7 form of a mailbox name (RFC 3501 section 5.1.3), not yet quoted."""
    if name.isascii() and name.isprintable() and "&" not in name:
        return name.encode()
    return _SHIFTED.sub(_shift, name).encode()


def _shift(match: re.Match[str]) -> str:
    text = match[0]
    if text == "&":
        return "&-"
    return "&" + b64encode(text.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",").decode() + "-"


def decode_mailbox(name: bytes) -> str:
    """Read a mailbox name in modified UTF-7. Raises ValueError unless it is the one right form of that name.

    8-bit names are read as UTF-8: clients send them with UTF8=ACCEPT (RFC 6855 section 3), and some without.
    """
    if name.isascii():
        text = _UNSHIFT.sub(_unshift, name).decode()
        if encode_mailbox(text) != name:
            raise ValueError("mailbox name is not in modified UTF-7")
    else:
        text = name.decode()
    if _CONTROL.search(text):
        raise ValueError("control character in a mailbox name")
    return text


def _unshift(match: re.Match[bytes]) -> bytes:
    digits = match[1].replace(b",", b"/")
    if not digits:
        return b"&"
    return b64decode(digits + b"=" * (-len(digits) % 4), validate=True).decode("utf-16-be").encode()
