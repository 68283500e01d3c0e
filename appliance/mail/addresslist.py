"""Address lists in header fields, groups and obsolete forms included (RFC 5322 sections 3.4 and 4.4).

This reads what a header shows. Where mail is sent to is decided by `appliance.mail.address` alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from appliance.mail.headers import read_comment, unescape, unfold

SHORT = 1024  # octets of a field whose list is kept for the next who asks
MAX_TOKENS = 50_000  # words and signs of one field that are looked at; addresses after them are not listed

_TOKEN = re.compile(
    rb"(?P<space>[ \t\r\n]++)"
    rb'|(?P<quoted>"(?>(?:[^"\\]++|\\.)*)(?:"|\\?\Z))'
    rb"|(?P<literal>\[(?>(?:[^\]\\]++|\\.)*)(?:\]|\\?\Z))"
    rb'|(?P<word>[^ \t\r\n"()<>\[\]:;@,\\]++)'
    rb"|(?P<sign>.)",
    re.DOTALL,
)


class ListedAddress(NamedTuple):
    """One entry of an address list, as octets: encoded words stay as they are, quoting is removed.

    `domain` None marks a group: its start has the group's name as `local`, its end has `local` None.
    """

    name: bytes | None
    route: bytes | None
    local: bytes | None
    domain: bytes | None


GROUP_END = ListedAddress(None, None, None, None)


def address_list(value: bytes) -> list[ListedAddress]:
    """Read the value of From, To, Cc and their like. Nothing is refused; what is no address is listed as one part."""
    return list(_read_short(value)) if len(value) <= SHORT else _read(value)


def _read(value: bytes) -> list[ListedAddress]:
    reader = _Reader()
    for kind, token in _tokens(unfold(value)):
        reader.take(kind, token)
    return reader.finish()


@functools.lru_cache(maxsize=256)
def _read_short(value: bytes) -> tuple[ListedAddress, ...]:
    """The fields of one message are read by the store, by each filter and by the judge, one after the other."""
    return tuple(_read(value))


def address_spans(value: bytes) -> list[tuple[int, int]]:
    """Where the addresses of a list stand in its value, folded or not: offsets of what is between angle brackets, or
    of a bare address. Those with white space, comments or a route inside are left out, as is what is no address.
    """
    found: list[tuple[int, int]] = []
    outside: list[tuple[int, int]] = []  # runs of words of this entry, and those inside of its angle brackets
    inside: list[tuple[int, int]] | None = None
    in_angle = in_group = False
    position = 0

    def flush() -> None:
        nonlocal inside
        runs = outside if inside is None else inside
        if len(runs) == 1 and b"@" in value[slice(*runs[0])] and not (inside is not None and in_angle):
            found.append(runs[0])
        outside.clear()
        inside = None

    for _ in range(MAX_TOKENS):
        match = _TOKEN.match(value, position)
        if match is None:
            break
        start, token = position, match[0]
        position = match.end()
        if token == b"(":
            _, position = read_comment(value, start)
        elif match.lastgroup == "space":
            continue
        elif not in_angle and token == b"<" and inside is None:
            inside, in_angle = [], True
        elif in_angle and token == b">":
            in_angle = False
        elif not in_angle and token in (b",", b";"):
            flush()
            in_group = in_group and token == b","
        elif (
            not in_angle
            and token == b":"
            and not in_group
            and inside is None
            and not any(b"@" in value[slice(*run)] for run in outside)
        ):
            outside.clear()
            in_group = True
        else:
            runs = outside if inside is None or not in_angle else inside
            if runs and runs[-1][1] == start:
                runs[-1] = runs[-1][0], position
            else:
                runs.append((start, position))
    flush()
    return found


def _tokens(value: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    for _ in range(MAX_TOKENS):
        match = _TOKEN.match(value, position)
        if match is None:
            return
        token = match[0]
        if token == b"(":
            comment, position = read_comment(value, position)
            yield "comment", comment
            continue
        position = match.end()
        if match.lastgroup == "quoted":
            yield "quoted", _unquoted(token)
        else:
            yield match.lastgroup or "sign", token


def _unquoted(token: bytes) -> bytes:
    return unescape(token[1:-1] if len(token) > 1 and token.endswith(b'"') else token[1:])


class _Reader:
    """Collects tokens until a comma, semicolon or the end makes one entry of them."""

    __slots__ = ("_angle", "_at", "_comment", "_in_angle", "_in_group", "_list", "_spaced", "_words")

    def __init__(self) -> None:
        self._list: list[ListedAddress] = []
        self._in_group = False
        self._clear()

    def _clear(self) -> None:
        self._words: list[bytes] = []  # outside of angle brackets, a space before each that had one
        self._angle: list[bytes] | None = None  # inside of them
        self._at = -1  # index in _words of the first @
        self._in_angle = False
        self._spaced = False
        self._comment: bytes | None = None

    def take(self, kind: str, token: bytes) -> None:
        if kind == "space":
            self._spaced = True
        elif kind == "comment":
            self._comment = token.strip()
        elif kind == "sign" and self._take_sign(token):
            self._spaced = False
        elif self._in_angle and self._angle is not None:
            self._angle.append(token)
        elif self._angle is None:
            self._add_word(token)

    def _add_word(self, token: bytes) -> None:
        if token == b"@" and self._at < 0:
            self._at = len(self._words)
        elif self._spaced and self._words:
            token = b" " + token
        self._words.append(token)
        self._spaced = False

    def _take_sign(self, sign: bytes) -> bool:
        """Act on a sign that has a meaning here; False if it is part of a word."""
        if self._in_angle:
            if sign == b">":
                self._in_angle = False
            elif sign in (b",", b";") and self._angle and self._angle[0] != b"@":
                self._flush()
            else:
                return False
        elif sign == b"<" and self._angle is None:
            self._angle, self._in_angle = [], True
        elif sign == b",":
            self._flush()
        elif sign == b";":
            self._flush()
            self._end_group()
        elif sign == b":" and not self._in_group and self._angle is None and self._at < 0:
            self._list.append(ListedAddress(None, None, b"".join(self._words), None))
            self._in_group = True
            self._clear()
        else:
            return False
        return True

    def _end_group(self) -> None:
        if self._in_group:
            self._list.append(GROUP_END)
            self._in_group = False

    def finish(self) -> list[ListedAddress]:
        self._flush()
        self._end_group()
        return self._list

    def _flush(self) -> None:
        if self._angle is not None:
            route, local, domain = _split_route(self._angle)
            name = b"".join(self._words) or self._comment
            self._list.append(ListedAddress(name or None, route, local, domain))
        elif self._words:
            at = self._at if self._at >= 0 else len(self._words)
            local = _packed(self._words[:at]) if self._at >= 0 else b"".join(self._words)
            self._list.append(ListedAddress(self._comment or None, None, local, _packed(self._words[at + 1 :])))
        self._clear()


def _packed(words: list[bytes]) -> bytes:
    return b"".join(word.strip() for word in words)


def _split_route(tokens: list[bytes]) -> tuple[bytes | None, bytes, bytes]:
    """Split what stood in angle brackets into route, local part and domain (RFC 5322 section 4.4, obs-route)."""
    route = None
    if tokens and tokens[0] == b"@" and b":" in tokens:
        colon = tokens.index(b":")
        route, tokens = b"".join(tokens[:colon]), tokens[colon + 1 :]
    if b"@" not in tokens:
        return route, b"".join(tokens), b""
    at = len(tokens) - 1 - tokens[::-1].index(b"@")
    return route, b"".join(tokens[:at]), b"".join(tokens[at + 1 :])
