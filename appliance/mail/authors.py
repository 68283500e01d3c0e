"""Who a message says has written it: one reading of From for all filters, which tells when no two readers would agree.

RFC 5322 section 3.6.2 and RFC 7489 section 6.6.1. What is legal but shows another address than the one that counts (in
a comment, in an encoded word) adds that address's domain: whoever asks for policies asks all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.errors import AddressError
from appliance.mail.address import normal_domain
from appliance.mail.headers import MAX_FIELDS, Field, read_comment, unfold
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.text import decode_words

MAX_FROM = 8192  # octets of the field
MAX_DOMAINS = 5  # whose policies would be asked

_ATOM = rb'[^\x00-\x20"(),:;<>@\[\]\\\x7f]'
_ADDRESS = rb'(?:%b++|"(?>(?:[^"\\@<>]++|\\.)*)")@(%b++)' % (_ATOM, _ATOM)
_BARE = re.compile(_ADDRESS)
_ANGLE = re.compile(rb"<[ \t]*+" + _ADDRESS + rb"[ \t]*+>")
# What nearly all mail has: words or one quoted string, and an address. Nothing in it can be read in two ways.
_ORDINARY = re.compile(rb'(?>"[^"@=\\]*+"[ \t]*+|[^"()<>@,:;=\\]*+)<' + _ADDRESS + b">")
_TOKEN = re.compile(rb'[ \t]++|(?P<quoted>"(?>(?:[^"\\]++|\\.)*)")|(?P<word>[^ \t"(),:;<>\\]++)|(?P<sign>.)', re.DOTALL)
_SHOWN = re.compile(rb"@([A-Za-z0-9\x80-\xff](?:[A-Za-z0-9.\x80-\xff-]*[A-Za-z0-9\x80-\xff])?)")
_SHOWN_IN_ANGLES = re.compile(r"<[^<>@]*+@([^<>@]++)>")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# A line that is no field of ours, but From for whoever is less strict.
_LIKE_FROM = re.compile(rb"(?:\A|\n)[^a-z0-9\n:]*+from[^a-z0-9:]*+:", re.IGNORECASE)
_NO_LETTER = re.compile(rb"[^a-z0-9]")


@dataclass(frozen=True, slots=True)
class Authors:
    """Domains with A-labels, in lower case, each once; `problem` is a sentence where there is no telling."""

    domains: tuple[str, ...] = ()
    problem: str = ""

    @property
    def domain(self) -> str:
        """The one domain, empty where there are several or none."""
        return self.domains[0] if len(self.domains) == 1 and not self.problem else ""


class _UnclearError(Exception):
    """No two readers would agree. The text is a sentence."""


def read_authors(message: Message) -> Authors:
    """Read the From field of a message, strictly."""
    try:
        return Authors(tuple(_Reading(_only_from(message)).domains()))
    except _UnclearError as error:
        return Authors(problem=str(error))


def _only_from(message: Message) -> bytes:
    """The unfolded value of the one From field."""
    fields, header = message.fields(), message.header
    if len(fields) >= MAX_FIELDS:
        raise _UnclearError(f"the header has {MAX_FIELDS} fields or more")
    if header[:1] in (b" ", b"\t"):
        raise _UnclearError("the header begins in the middle of a field")
    found = [field for field in fields if b"from" in field.name and _NO_LETTER.sub(b"", field.name) == b"from"]
    if _has_like_from(header, fields) or any(field.name != b"from" for field in found):
        raise _UnclearError("a line of the header looks like From and is none")
    if len(found) != 1:
        raise _UnclearError("the message has several From fields" if found else "the message has no From field")
    value = unfold(found[0].value)
    if len(value) > MAX_FROM:
        raise _UnclearError(f"From has more than {MAX_FROM} octets")
    if _CONTROL.search(value):
        raise _UnclearError("From holds control characters")
    return value


def _has_like_from(header: bytes, fields: Sequence[Field]) -> bool:
    end = 0
    for field in fields:
        if field.start != end and _LIKE_FROM.search(header[end : field.start]):
            return True
        end = field.end
    return _LIKE_FROM.search(header[end:]) is not None


class _Reading:
    """Goes through one value, entry by entry."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._found: list[bytes] = []
        self._shown: list[bytes] = []  # what a reader may see besides
        self._words: list[bytes] = []
        self._spaced = False
        self._angle = False

    def domains(self) -> list[str]:
        """The domains of all addresses, those that are only shown behind them."""
        if (ordinary := _ORDINARY.fullmatch(self._value) or _BARE.fullmatch(self._value)) is not None:
            return [_normal(ordinary[1])]
        self._read()
        if not self._found:
            raise _UnclearError("From holds no address")
        made = dict.fromkeys([_normal(domain) for domain in self._found])
        if b"=?" in self._value:
            self._shown += [
                one.encode("utf-8", "replace") for one in _SHOWN_IN_ANGLES.findall(decode_words(self._value))
            ]
        for domain in self._shown:
            try:
                made.setdefault(_normal(domain))
            except _UnclearError:
                continue  # nobody would take it for an address
        if len(made) > MAX_DOMAINS:
            raise _UnclearError(f"From names more than {MAX_DOMAINS} domains")
        return list(made)

    def _read(self) -> None:
        value, place = self._value, 0
        while place < len(value):
            match = _TOKEN.match(value, place)
            assert match is not None  # the last alternative takes anything
            kind, token, start = match.lastgroup, match[0], place
            place = match.end()
            if kind is None:
                self._spaced = True
            elif token == b"(":
                place = self._comment(start)
            elif token == b"<":
                place = self._address(start)
            elif token in (b",", b";"):
                self._flush()
            elif token == b":":
                self._group()
            elif kind == "sign":
                raise _UnclearError(f"From holds a stray {token.decode('ascii', 'replace')}")
            else:
                self._word(token)
        self._flush()

    def _word(self, token: bytes) -> None:
        if self._angle:
            raise _UnclearError("From has more text behind an address")
        self._words.append(b" " + token if self._spaced and self._words else token)
        self._spaced = False

    def _comment(self, start: int) -> int:
        comment, end = read_comment(self._value, start)
        if len(comment) != end - start - 2:
            raise _UnclearError("From has a comment without an end")
        if not self._angle and any(b"@" in word and not word.strip().startswith(b'"') for word in self._words):
            rest = self._value[end:].lstrip(b" \t")
            if rest and rest[:1] not in b",;(":
                raise _UnclearError("From has a comment within an address")
        self._shown += _SHOWN.findall(comment)
        self._spaced = True
        return end

    def _address(self, start: int) -> int:
        match = _ANGLE.match(self._value, start)
        if self._angle:
            raise _UnclearError("From has two addresses without a comma")
        if match is None:
            raise _UnclearError("what From has between < and > is no address")
        self._angle = True
        self._found.append(match[1])
        return match.end()

    def _group(self) -> None:
        if self._angle or any(b"@" in word for word in self._words):
            raise _UnclearError("From has a colon behind an address")
        self._words.clear()

    def _flush(self) -> None:
        text = b"".join(self._words)
        if self._angle:
            plain = b" ".join(word for word in self._words if not word.strip().startswith(b'"'))
            self._shown += _SHOWN.findall(plain)
        elif b"@" in text:
            match = _BARE.fullmatch(text)
            if match is None:
                raise _UnclearError("From holds an address that is none")
            self._found.append(match[1])
        elif b"=?" in text and "@" in decode_words(text):
            raise _UnclearError("From has an address in an encoded word")
        self._words.clear()
        self._angle = self._spaced = False


def _normal(domain: bytes) -> str:
    try:
        name = to_ascii(normal_domain(domain.decode()))
    except (AddressError, UnicodeDecodeError):
        raise _UnclearError("From has an address whose domain is none") from None
    if name.startswith("["):
        raise _UnclearError("From has an address without a domain")
    return name
