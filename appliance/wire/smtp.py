"""The grammar of SMTP that servers and clients share: paths, parameters, xtext, dots, replies.

No state of a dialogue lives here; `plugins/smtp/protocol.py` and `appliance/wire/smtp_client.py` hold that.
"""

from __future__ import annotations

import functools
import re

from appliance.errors import AddressError, ApplianceError, ProtocolError
from appliance.mail.address import Address
from appliance.mail.reply import Reply

MAX_PATH = 1024  # octets between the angle brackets; RFC 5321 section 4.5.3.1.3 asks for 256, UTF-8 and routes for more
KNOWN_REPLY = 64  # octets of a reply that is remembered
MAX_REPLY_LINE = 2048  # octets; section 4.5.3.1.5 asks for 512
MAX_REPLY_LINES = 256  # of one reply: EHLO answers of real servers stay below 40
MAX_ENVID = 100  # octets of the encoded value, RFC 3461 section 4.4
MAX_ORCPT = 500  # octets of the encoded value, section 4.2

_PATH = re.compile(
    r"""[ ]*<
        (?:@(?:\[[^]<>]*\]|[^][,:<>"@\s]+)(?:,@(?:\[[^]<>]*\]|[^][,:<>"@\s]+))*:)?   # a source route, dropped
        (?P<mailbox>(?:"(?:[^"\\]|\\.)*")?[^<>"\x00-\x20\x7f]*)
        >[ ]*(?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_XTEXT_ESCAPE = re.compile(r"\+([0-9A-F]{2})")
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")
_UNITEXT_ESCAPE = re.compile(r"\\x\{((?:10|[1-9A-F])?[0-9A-F]{1,4})\}")
_NOT_UNITEXT = re.compile(r"[\x00-\x20+=\\\x7f]")
_NOT_ASCII_UNITEXT = re.compile(r"[^!-*,-<>-\[\]-~]")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REPLY_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_LIMIT = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)(?:=([!-:<-~]+))?")
_LIMIT_VALUE = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_STATUS = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?: |$)")


class GrammarError(ApplianceError):
    """A parameter, an xtext or the like does not follow its grammar. The text is safe to show to the peer."""


# ── paths and parameters ─────────────────────────────────────────────────────────────────────────────────────────


@functools.lru_cache(maxsize=512)  # the same few senders and recipients come again and again
def parse_path(text: str, *, postmaster_domain: str = "") -> tuple[Address | None, str]:
    """Read `<path>` and return its address (None for `<>`) and what follows it, the ESMTP parameters.

    `text` is what stands behind `FROM:` or `TO:`. A source route is checked and dropped, as RFC 5321 appendix C
    has it: `<@a.example,@b.example:u@c.example>` means `u@c.example`. A bare `<Postmaster>` (section 4.1.1.3) is
    an address of `postmaster_domain` if that is given. Raises AddressError on everything else.
    """
    found = _PATH.fullmatch(text)
    if found is None:
        raise AddressError("the address must stand in angle brackets")
    mailbox, rest = found["mailbox"], found["rest"]
    if found.end("mailbox") - found.start() > MAX_PATH:
        raise AddressError("path too long")
    if rest and text[found.start("rest") - 1] != " ":
        raise AddressError("no space behind the address")
    if not mailbox:
        if text[found.start("mailbox") - 1] == ":":
            raise AddressError("a source route without an address")
        return None, rest
    if postmaster_domain and mailbox.lower() == "postmaster":
        return Address("postmaster", postmaster_domain), rest
    return Address.parse(mailbox), rest


def format_path(address: Address | None) -> str:
    """The address in angle brackets, as it goes into MAIL FROM or RCPT TO; `<>` for None."""
    return "<>" if address is None else f"<{address}>"


def parse_parameters(text: str) -> dict[str, str]:
    """Read `KEY=value KEY2` (RFC 5321 section 4.1.2). Keys come in upper case; a key without a value maps to "".

    Raises GrammarError on bad syntax and on a key that stands twice, for then two readers may disagree.
    """
    parameters: dict[str, str] = {}
    for word in text.split(" "):
        if not word:
            continue
        found = _PARAMETER.fullmatch(word)
        if found is None:
            raise GrammarError("bad parameter syntax")
        key = found[1].upper()
        if key in parameters:
            raise GrammarError(f"{key} is given twice")
        parameters[key] = found[2] or ""
    return parameters


# ── xtext ────────────────────────────────────────────────────────────────────────────────────────────────────────


def xtext_decode(text: str) -> str:
    """Decode xtext (RFC 3461 section 4). Raises GrammarError, also for control characters in the result."""
    decoded = _xtext_octets(text)
    if _CONTROL.search(decoded) or not decoded.isascii():
        raise GrammarError("xtext stands for something not printable")
    return decoded


def _xtext_octets(text: str) -> str:
    """Decode xtext to octets, each as the character of its number."""
    if not _XTEXT.fullmatch(text):
        raise GrammarError("bad xtext")
    return _XTEXT_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "+" in text else text


def xtext_encode(text: str) -> str:
    """Encode printable ASCII text as xtext. Raises GrammarError on anything else."""
    if not text.isascii() or _CONTROL.search(text):
        raise GrammarError("only printable ASCII can be written as xtext")
    return _NOT_XTEXT.sub(lambda found: f"+{ord(found[0]):02X}", text)


def parse_orcpt(value: str) -> str:
    """Check and decode an ORCPT value (RFC 3461 section 4.2; type `utf-8`: RFC 6533 section 3).

    Returns `type;address` with the address decoded: `rfc822;user@example.com`. An address in UTF-8 that comes as
    `rfc822` in xtext (Postfix does so) becomes one of type `utf-8`. Raises GrammarError.
    """
    kind, semicolon, encoded = value.partition(";")
    if not semicolon or not encoded or not _ADDRESS_TYPE.fullmatch(kind):
        raise GrammarError("ORCPT must be type;address")
    if len(value.encode("utf-8", "replace")) > MAX_ORCPT:
        raise GrammarError("ORCPT too long")
    if kind.lower() == "rfc822" and not (octets := _xtext_octets(encoded)).isascii():
        decoded = _from_utf8(octets)
    elif kind.lower() != "utf-8":
        return f"{kind.lower()};{xtext_decode(encoded)}"
    elif _NOT_UNITEXT.search(_UNITEXT_ESCAPE.sub("", encoded)):
        raise GrammarError("bad utf-8 address in ORCPT")
    else:
        decoded = _UNITEXT_ESCAPE.sub(_code_point, encoded)
    if _CONTROL.search(decoded):
        raise GrammarError("ORCPT stands for something not printable")
    return f"utf-8;{decoded}"


def format_orcpt(orcpt: str, *, smtputf8: bool) -> str:
    r"""Encode a decoded `type;address` as an ORCPT value; a non-ASCII address becomes `\x{…}` without SMTPUTF8."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() != "utf-8":
        return f"{kind};{xtext_encode(address)}"
    unsafe = _NOT_UNITEXT if smtputf8 else _NOT_ASCII_UNITEXT
    encoded = unsafe.sub(lambda found: "\\x{%02X}" % ord(found[0]), address)  # noqa: UP031
    return f"{kind};{encoded}"


def _from_utf8(octets: str) -> str:
    try:
        return octets.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise GrammarError("ORCPT is not in UTF-8") from None


def _code_point(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    if 0xD800 <= number <= 0xDFFF:
        raise GrammarError("a surrogate in ORCPT")
    return chr(number)


FEW_DOTS = 64  # looked at one by one
_LF = 0x0A

# ── dots ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_dots(data: bytes, start: int) -> tuple[int, bool]:
    """Where the text that begins at `start`, a line's start, ends, and whether dots were stuffed before that.

    The first is the offset of the CRLF before the final dot, -1 if there is none. The second may be true where none
    was. Looking at single dots is much quicker than looking for line ends, and base64 has none; text with many dots
    is left to the other search.
    """
    stuffed = data.startswith(b".", start)
    dot = start
    for _ in range(FEW_DOTS):
        dot = data.find(b".", dot + 1)
        if dot < 0:
            return -1, stuffed
        if data[dot - 1] == _LF:
            if data[dot - 2 : dot + 3] == b"\r\n.\r\n" and dot - 2 >= start:
                return dot - 2, stuffed
            stuffed = True
    return data.find(b"\r\n.\r\n", start), True


def unstuff(lines: bytes) -> bytes:
    """Take away the dots of RFC 5321 section 4.5.2 from whole lines (each ended by CRLF)."""
    if lines[:1] == b".":
        lines = lines[1:]
    return lines.replace(b"\r\n.", b"\r\n")


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_reply(lines: list[bytes]) -> Reply:
    """Read the lines of one reply (without line ends). Raises ProtocolError if they are none.

    Bytes that are no UTF-8 and control characters are replaced, so that the text can be logged and bounced as it is.
    The enhanced status (RFC 2034) is split off the first line, and off the others where it is repeated there.
    """
    codes: set[bytes] = set()
    texts: list[str] = []
    for line in lines:
        found = _REPLY_LINE.fullmatch(line)
        if found is None:
            raise ProtocolError("not an SMTP reply")
        codes.add(found[1])
        texts.append(_CONTROL.sub("?", (found[3] or b"").decode("utf-8", "replace")))
    if len(codes) != 1:
        raise ProtocolError("an SMTP reply with two codes")
    code = int(codes.pop())
    status = _STATUS.match(texts[0])
    if status is None or int(status[1]) != code // 100:
        return Reply(code, "", "\n".join(texts))
    prefix = status[0].rstrip(" ")
    texts = [text[len(prefix) :].lstrip(" ") if text.startswith(prefix) else text for text in texts]
    return Reply(code, prefix, "\n".join(texts))


@functools.lru_cache(maxsize=256)
def _known_reply(line: bytes) -> Reply:
    """`parse_reply` of one line. Servers say the same all day: most of their replies are known already."""
    return parse_reply([line])


class ReplyReader:
    """Cuts the bytes that a server sends into replies (RFC 5321 section 4.2)."""

    __slots__ = ("_buffer", "_lines")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[bytes] = []

    def receive(self, data: bytes) -> None:
        """Take bytes from the server."""
        self._buffer += data

    @property
    def pending(self) -> bool:
        """Whether bytes are left that belong to no reply taken so far. True before a TLS handshake means injection."""
        return bool(self._buffer or self._lines)

    def next_reply(self) -> Reply | None:
        """Return the next whole reply or None. Raises ProtocolError on anything that is no reply, or too long."""
        buffer = self._buffer
        while True:
            end = buffer.find(b"\n")
            if (len(buffer) if end < 0 else end + 1) > MAX_REPLY_LINE:
                raise ProtocolError("reply line too long")
            if end < 0:
                return None
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if line[-1:] != b"\r" or b"\r" in line[:-1]:
                raise ProtocolError("bare CR or LF in a reply")
            if not self._lines and len(line) <= KNOWN_REPLY and line[3:4] != b"-":
                return _known_reply(line[:-1])
            self._lines.append(line[:-1])
            if line[3:4] != b"-":
                lines, self._lines = self._lines, []
                return parse_reply(lines)
            if len(self._lines) >= MAX_REPLY_LINES:
                raise ProtocolError("reply with too many lines")


def parse_extensions(reply: Reply) -> dict[str, str]:
    """The extensions that a 250 to EHLO or LHLO announces: keyword in upper case → its parameters ("" if none)."""
    extensions: dict[str, str] = {}
    for line in reply.text.split("\n")[1:]:
        keyword, _, parameters = line.partition(" ")
        # "AUTH=LOGIN" is what some old servers wrote instead of "AUTH LOGIN".
        if keyword[:5].upper() == "AUTH=":
            keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
        key = keyword.upper()
        if key:
            extensions[key] = f"{extensions[key]} {parameters.strip()}" if key in extensions else parameters.strip()
    return extensions


def parse_limits(text: str) -> dict[str, int]:
    """The limits behind the keyword LIMITS that are numbers: name in upper case to value (RFC 9422 section 3.2).

    What is no list of limits counts as none at all, a value that is no number of up to six digits as not given
    (section 3.7).
    """
    found = [_LIMIT.fullmatch(word) for word in text.split()]
    limits: dict[str, int] = {}
    for one in found:
        if one is None:
            return {}
        if one[2] is not None and _LIMIT_VALUE.fullmatch(one[2]):
            limits[one[1].upper()] = int(one[2])
    return limits
