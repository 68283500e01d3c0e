"""The milter protocol, version 6, from the MTA's side, as a machine without I/O.

There is no RFC. Its source is Sendmail's libmilter (`mfdef.h`, `mfapi.h`, their names stand beside the letters) and
the pages of its interface: a packet is a length of four octets, a letter, and data.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from appliance.errors import ProtocolError
from appliance.mail.reply import Reply

VERSION: Final = 6
OLDEST: Final = 2  # versions below it are Sendmail 8.11's
MAX_PACKET: Final = 1024 * 1024 + 1024  # octets that a filter may send in one go
MAX_BODY_CHUNK: Final = 65_535  # octets of text in one packet, MILTER_CHUNK_SIZE
MAX_MACROS: Final = 200  # names that a filter may ask for at one stage

_LENGTH = struct.Struct(">I")
_OPTIONS = struct.Struct(">III")


class Stage(enum.IntEnum):
    """Where macros belong to (SMFIM_…)."""

    CONNECT = 0
    HELO = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    END_OF_MESSAGE = 5
    END_OF_HEADER = 6


LETTERS: Mapping[Stage, bytes] = {
    Stage.CONNECT: b"C",
    Stage.HELO: b"H",
    Stage.MAIL: b"M",
    Stage.RCPT: b"R",
    Stage.DATA: b"T",
    Stage.END_OF_HEADER: b"N",
    Stage.END_OF_MESSAGE: b"E",
}
"""The command of each stage (SMFIC_…)."""


class Act(enum.IntFlag):
    """What a filter may do to a message (SMFIF_…)."""

    ADD_HEADERS = 0x01
    CHANGE_BODY = 0x02
    ADD_RECIPIENTS = 0x04
    REMOVE_RECIPIENTS = 0x08
    CHANGE_HEADERS = 0x10
    QUARANTINE = 0x20
    CHANGE_SENDER = 0x40
    ADD_RECIPIENTS_WITH_PARAMETERS = 0x80
    CHOOSE_MACROS = 0x100


class Skip(enum.IntFlag):
    """What a filter does not want to be sent, or will not answer (SMFIP_…)."""

    CONNECT = 0x1
    HELO = 0x2
    MAIL = 0x4
    RCPT = 0x8
    BODY = 0x10
    HEADERS = 0x20
    END_OF_HEADER = 0x40
    NO_REPLY_HEADER = 0x80
    UNKNOWN = 0x100
    DATA = 0x200
    MAY_SKIP_BODY = 0x400
    REFUSED_RECIPIENTS = 0x800
    NO_REPLY_CONNECT = 0x1000
    NO_REPLY_HELO = 0x2000
    NO_REPLY_MAIL = 0x4000
    NO_REPLY_RCPT = 0x8000
    NO_REPLY_DATA = 0x10000
    NO_REPLY_UNKNOWN = 0x20000
    NO_REPLY_END_OF_HEADER = 0x40000
    NO_REPLY_BODY = 0x80000
    LEADING_SPACE = 0x100000


ALL_ACTS = Act(0x1FF)
# Refused recipients are not shown: RCPT is answered by the office's own rules first.
OFFERED = Skip(0x1FFFFF) & ~Skip.REFUSED_RECIPIENTS


# ── what a filter says ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Options:
    """What both sides agreed upon. `macros` has the stages for which the filter chose names itself."""

    version: int
    acts: Act
    skips: Skip
    macros: Mapping[Stage, tuple[str, ...]] = field(default_factory=dict)


class Answer(enum.Enum):
    """The words that end a stage (SMFIR_…)."""

    CONTINUE = b"c"
    ACCEPT = b"a"
    DISCARD = b"d"
    REJECT = b"r"
    TEMPFAIL = b"t"
    SKIP = b"s"
    SHUTDOWN = b"4"
    CONNECTION_FAILED = b"f"
    PROGRESS = b"p"


@dataclass(frozen=True, slots=True)
class Refuse:
    """A refusal in the filter's own words (SMFIR_REPLYCODE)."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class PutHeader:
    """Add a field at the end, or with `index` before the field of that number (SMFIR_ADDHEADER, SMFIR_INSHEADER)."""

    name: bytes
    value: bytes
    index: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    """Replace the `index`th field of that name, from 1; without a value it goes (SMFIR_CHGHEADER)."""

    name: bytes
    value: bytes
    index: int


@dataclass(frozen=True, slots=True)
class NewBody:
    """A piece of the text that takes the place of the old (SMFIR_REPLBODY)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NewSender:
    """Another envelope sender, as it stands in MAIL (SMFIR_CHGFROM). Its parameters are not looked at."""

    path: bytes


@dataclass(frozen=True, slots=True)
class PutRecipient:
    """One more recipient (SMFIR_ADDRCPT, SMFIR_ADDRCPT_PAR)."""

    path: bytes


@dataclass(frozen=True, slots=True)
class DropRecipient:
    """One recipient less (SMFIR_DELRCPT)."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Hold the message until somebody has looked at it (SMFIR_QUARANTINE)."""

    reason: str


Edit = PutHeader | ChangeHeader | NewBody | NewSender | PutRecipient | DropRecipient | Quarantine
Event = Options | Answer | Refuse | Edit

_NEEDS: Mapping[bytes, Act] = {
    b"h": Act.ADD_HEADERS,
    b"i": Act.ADD_HEADERS | Act.CHANGE_HEADERS,
    b"m": Act.CHANGE_HEADERS,
    b"b": Act.CHANGE_BODY,
    b"e": Act.CHANGE_SENDER,
    b"+": Act.ADD_RECIPIENTS | Act.ADD_RECIPIENTS_WITH_PARAMETERS,
    b"2": Act.ADD_RECIPIENTS_WITH_PARAMETERS,
    b"-": Act.REMOVE_RECIPIENTS,
    b"q": Act.QUARANTINE,
}


class MilterMachine:
    """One connection to one filter: packets out as bytes, answers in as events."""

    __slots__ = ("_buffer", "closed", "options")

    def __init__(self) -> None:
        self.closed = False
        self.options = Options(VERSION, Act(0), Skip(0))
        self._buffer = bytearray()

    def receive(self, data: bytes) -> None:
        """Take what the filter sent."""
        self._buffer += data

    def next_event(self) -> Event | None:
        """Return the next answer or edit, or None when it needs bytes. Raises ProtocolError on what is neither."""
        if self.closed or len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 1 <= length <= MAX_PACKET:
            self.closed = True
            raise ProtocolError(f"a packet of {length} octets")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        letter, data = bytes(self._buffer[4:5]), bytes(self._buffer[5:end])
        del self._buffer[:end]
        try:
            return self._event(letter, data)
        except ProtocolError:
            self.closed = True
            raise

    def start_tls(self) -> None:
        """Raises ProtocolError: the protocol has no TLS."""
        raise ProtocolError("milters speak no TLS")

    def _event(self, letter: bytes, data: bytes) -> Event:
        if letter == b"O":
            self.options = _options(data)
            return self.options
        if letter == b"y":
            return Refuse(_reply(data))
        need = _NEEDS.get(letter)
        if need is None:
            try:
                return Answer(letter)
            except ValueError:
                raise ProtocolError(f"an answer {letter!r} that no version has") from None
        if not need & self.options.acts:
            raise ProtocolError(f"an edit {letter!r} that was not negotiated")
        return _edit(letter, data)


def _options(data: bytes) -> Options:
    if len(data) < _OPTIONS.size:
        raise ProtocolError("options cut short")
    version, acts, skips = _OPTIONS.unpack_from(data)
    if not OLDEST <= version <= VERSION:
        raise ProtocolError(f"version {version} of the protocol, not {OLDEST} to {VERSION}")
    if acts & ~int(ALL_ACTS) or skips & ~int(OFFERED):
        raise ProtocolError("options that were not offered")
    macros: dict[Stage, tuple[str, ...]] = {}
    rest = data[_OPTIONS.size :]
    while rest:
        text, nul, following = rest[4:].partition(b"\0")
        if len(rest) < 5 or not nul:
            raise ProtocolError("a list of macros cut short")
        (stage,) = _LENGTH.unpack_from(rest)
        if stage not in iter(Stage):
            raise ProtocolError(f"macros of a stage {stage} that is not known")
        names = text.decode("ascii", "replace").replace(",", " ").split()
        if len(names) > MAX_MACROS:
            raise ProtocolError(f"more than {MAX_MACROS} macros at one stage")
        macros[Stage(stage)] = tuple(names)
        rest = following
    return Options(version, Act(acts), Skip(skips), macros)


_REPLY_LINE = re.compile(r"([45]\d\d)(?:[ -]|$)(?:([45]\.\d{1,3}\.\d{1,3})(?: |$))?(.*)")


def _reply(data: bytes) -> Reply:
    """The lines of a refusal. They are the peer's to read, so nothing but text may be in them."""
    code, enhanced, texts = "", "", []
    for line in data.rstrip(b"\0\r\n").decode("utf-8", "replace").splitlines():
        match = _REPLY_LINE.fullmatch("".join(c if c.isprintable() else " " for c in line))
        if match is None or (code and match[1] != code):
            raise ProtocolError("a reply without a code of 4yz or 5yz")
        code, enhanced = match[1], enhanced or match[2] or ""
        texts.append(match[3].replace("%%", "%"))
    if not code:
        raise ProtocolError("an empty reply")
    if enhanced[:1] != code[0]:
        enhanced = f"{code[0]}.7.1"
    return Reply(int(code), enhanced, "\n".join(texts) or "The message is refused")


def _edit(letter: bytes, data: bytes) -> Edit:
    if letter == b"b":
        return NewBody(data)
    if letter in b"im":
        if len(data) < _LENGTH.size:
            raise ProtocolError("a header's number is missing")
        (index,) = _LENGTH.unpack_from(data)
        name, value = _two(data[_LENGTH.size :])
        return PutHeader(name, value, index) if letter == b"i" else ChangeHeader(name, value, index)
    if letter == b"h":
        return PutHeader(*_two(data))
    text, _, _ = data.partition(b"\0")
    if letter == b"e":
        return NewSender(text)
    if letter == b"-":
        return DropRecipient(text)
    if letter == b"q":
        return Quarantine(text.decode("utf-8", "replace"))
    return PutRecipient(text)


_NAME = re.compile(rb"[!-9;-~]{1,998}")


def _two(data: bytes) -> tuple[bytes, bytes]:
    name, nul, rest = data.partition(b"\0")
    if not nul or not rest.endswith(b"\0") or b"\0" in rest[:-1]:
        raise ProtocolError("a header that does not end")
    if not _NAME.fullmatch(name):
        raise ProtocolError("a header's name that is none")
    return name, rest[:-1]


# ── what we say ───────────────────────────────────────────────────────────────────────────────────────────────────


def packet(letter: bytes, data: bytes = b"") -> bytes:
    """One packet."""
    return _LENGTH.pack(len(data) + 1) + letter + data


def offer() -> bytes:
    """What we can do, all of it: the filter takes what it needs (SMFIC_OPTNEG)."""
    return packet(b"O", _OPTIONS.pack(VERSION, ALL_ACTS, OFFERED))


def words(letter: bytes, texts: Iterable[bytes]) -> bytes:
    """A packet of texts that each end in NUL. NUL within a text is left out: it would begin another."""
    return packet(letter, _joined(texts))


def _joined(texts: Iterable[bytes]) -> bytes:
    return b"".join(text.replace(b"\0", b"") + b"\0" for text in texts)


def macros(stage: Stage, values: Mapping[str, str]) -> bytes:
    """The values of macros, before the packet of their stage (SMFIC_MACRO). Nothing if there are none."""
    if not values:
        return b""
    pairs = (text.encode("utf-8", "replace") for item in values.items() for text in item)
    return packet(b"D", LETTERS[stage] + _joined(pairs))


def connect(name: str, ip: str, port: int) -> bytes:
    """Who has connected (SMFIC_CONNECT). `ip` is empty for a Unix socket."""
    host = name.encode("utf-8", "replace").replace(b"\0", b"") + b"\0"
    if not ip:
        return packet(b"C", host + b"U")
    family = b"6" if ":" in ip else b"4"
    return packet(b"C", host + family + struct.pack(">H", port) + ip.encode() + b"\0")


def body(text: bytes | memoryview) -> Iterator[bytes]:
    """The message's text in packets (SMFIC_BODY)."""
    for start in range(0, len(text), MAX_BODY_CHUNK):
        yield packet(b"B", bytes(text[start : start + MAX_BODY_CHUNK]))


def path(address: str, parameters: Sequence[str] = ()) -> list[bytes]:
    """A path and its parameters as MAIL and RCPT have them."""
    return [f"<{address}>".encode("utf-8", "replace"), *[one.encode("utf-8", "replace") for one in parameters]]
