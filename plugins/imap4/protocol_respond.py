"""How responses are written (RFC 3501 section 7). Pure: values in, bytes out, CRLF included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache

from appliance.mail.flags import SYSTEM_FLAGS
from appliance.wire.imap import astring, encode_mailbox
from appliance.wire.imap import string as string

CRLF = b"\r\n"
NIL = b"NIL"
_SECONDS_A_DAY = 86400
_EPOCH = date(1970, 1, 1).toordinal()
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def tagged(tag: bytes, status: str, text: str, code: str = "") -> bytes:
    """The completion of a command: `a1 NO [TRYCREATE] No such mailbox`. The code may carry arguments."""
    code = f"[{code}] " if code else ""
    return tag + f" {status} {code}{one_line(text)}\r\n".encode("utf-8", "replace")


def untagged(status: str, text: str, code: str = "") -> bytes:
    """A status response of the server's own: `* OK [UIDNEXT 5] Predicted next UID`, `* BYE …`."""
    return tagged(b"*", status, text, code)


def one_line(text: str) -> str:
    """A text for people without line ends: it may quote what a peer or the system said."""
    return " ".join(text.split()) or "-"


def mailbox(name: str, *, utf8: bool = False) -> bytes:
    """A mailbox name as an astring in modified UTF-7, or in UTF-8 for a client that has enabled it."""
    if utf8 and not name.isascii():
        return b'"' + name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return astring(name.encode() if utf8 else encode_mailbox(name))


def name_line(kind: str, attributes: Sequence[str], name: str, extended: bytes = b"", *, utf8: bool = False) -> bytes:
    r"""A line of LIST or LSUB: `* LIST (\HasNoChildren) "/" INBOX`, with extended data items behind."""
    words = " ".join(attributes).encode()
    return b'* %b (%b) "/" %b%b\r\n' % (kind.encode(), words, mailbox(name, utf8=utf8), extended)


def old_name(name: str, *, utf8: bool) -> bytes:
    """The extended data item that tells which name a mailbox had (RFC 9051 section 6.3.9.7)."""
    return b' ("OLDNAME" (%b))' % mailbox(name, utf8=utf8)


def status_line(name: str, items: Iterable[tuple[str, int | str]], *, utf8: bool = False) -> bytes:
    """`* STATUS INBOX (MESSAGES 3 UNSEEN 1)`."""
    values = " ".join(f"{item} {value}" for item, value in items).encode()
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, utf8=utf8), values)


def flags_line(keywords: Sequence[str]) -> bytes:
    r"""`* FLAGS (\Answered …)`: the flags that messages of this mailbox can have."""
    return b"* FLAGS (%b)\r\n" % " ".join((*SYSTEM_FLAGS, *keywords)).encode()


def permanent_flags_line(keywords: Sequence[str], *, settable: int, more: bool) -> bytes:
    r"""`* OK [PERMANENTFLAGS (…)]`: what a client can change for good; `\*` if it may make up keywords (`more`).

    `settable` has the bits of the system flags that it can change, and any other bit if the keywords too.
    """
    names = [name for bit, name in enumerate(SYSTEM_FLAGS) if settable >> bit & 1]
    if settable >> len(SYSTEM_FLAGS):
        names += [*keywords, *(["\\*"] if more else [])]
    text = "Flags permitted" if names else "No permanent flags permitted"
    return untagged("OK", text, f"PERMANENTFLAGS ({' '.join(names)})")


def numbers_line(kind: str, numbers: Iterable[int], modseq: int = 0) -> bytes:
    """`* SEARCH 2 3 (MODSEQ 7)`, or of kind SORT; without the modseq if it is 0."""
    tail = f" (MODSEQ {modseq})" if modseq else ""
    return f"* {' '.join((kind, *map(str, numbers)))}{tail}\r\n".encode()


def literal(octets: bytes) -> bytes:
    """A literal with its octets exactly as they are stored."""
    return b"{%d}\r\n%b" % (len(octets), octets)


def literal8(octets: bytes) -> bytes:
    """A literal of any octets, NUL too (RFC 3516 section 4.4)."""
    return b"~" + literal(octets)


def internal_date(at: int) -> bytes:
    """A quoted date-time in UTC: `"17-Jul-1996 02:44:25 +0000"`."""
    day, second = divmod(at, _SECONDS_A_DAY)
    return b'"%b %02d:%02d:%02d +0000"' % (_day(day), second // 3600, second // 60 % 60, second % 60)


@lru_cache(maxsize=256)
def _day(day: int) -> bytes:
    try:
        when = date.fromordinal(_EPOCH + day)
    except (ValueError, OverflowError):
        when = date.fromordinal(_EPOCH)  # no date of this calendar: no more can be said about it
    return f"{when.day:2d}-{_MONTHS[when.month - 1]}-{when.year:04d}".encode()
