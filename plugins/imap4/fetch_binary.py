"""BINARY[…] and BINARY.SIZE[…]: parts without their transfer encoding (RFC 3516 section 4, RFC 9051 section 6.4.5).

How long the answer will be is known only when the part was decoded. A short one is decoded at once. A large one is
decoded twice, piece by piece: to measure it, and when it is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from appliance.mail.transfer import IDENTITY, Decoder, decoder
from plugins.imap4.fetch_section import Piece, S, Stretch, cut
from plugins.imap4.protocol_fetch import FetchItem
from plugins.imap4.refusal import RefusalError

if TYPE_CHECKING:
    from appliance.mail.mime import Part
    from appliance.store.stored import StoredMessage

AT_ONCE = 512 * 1024  # encoded octets of a part that is decoded in memory
PIECE = 128 * 1024  # encoded octets of a larger one that are decoded at once

Read = Callable[[S, int, int], bytes]


class LargePartError(Exception):
    """The part is too large for a response that is made in memory."""


class Decoded:
    """Octets of an encoded part that are not decoded yet: `count` of them, from `first` on."""

    __slots__ = ("_count", "encoding", "first", "start", "stop")

    def __init__(self, part: Part, first: int, count: int) -> None:
        self.start, self.stop = part.body_start, part.end
        self.encoding = part.encoding
        self.first = first
        self._count = count

    def __len__(self) -> int:
        return self._count

    async def octets(self, message: StoredMessage) -> AsyncIterator[bytes]:
        """The octets, as the text comes from the store."""
        left, skip = self._count, self.first
        made = _decoder(self.encoding)
        async for piece in message.text(self.start, self.stop):
            decoded = made.feed(piece)
            octets = decoded[skip : skip + left]
            skip = max(0, skip - len(decoded))
            left -= len(octets)
            if octets:
                yield octets
        if octets := made.finish()[skip : skip + left]:
            yield octets


def binary_size(item: FetchItem, source: S, read: Read[S], *, large: bool) -> int:
    """The octets of a part without its encoding; 0 if there is no such part. Raises as `binary_pieces` does."""
    part = _part(item, source)
    if part is None:
        return 0 if item.section is not None and item.section.path else len(source.header) + source.text_size
    if _is_plain(part):
        return part.size
    if not large and part.size > AT_ONCE:
        raise LargePartError
    return _measure(part, source, read)[0]


def binary_pieces(item: FetchItem, source: S, read: Read[S], *, large: bool) -> list[Piece | Decoded] | None:
    """A part without its encoding, with the literal's head; None if the message has no such part.

    With `large`, large parts are only named, else they raise LargePartError. Raises RefusalError for an encoding that
    nobody knows. Octets with NUL among them come as literal8 (RFC 3516 section 4.2).
    """
    assert item.section is not None
    part = _part(item, source)
    octets: list[Piece | Decoded]
    if not item.section.path:
        octets = [*_cut(item, [source.header, Stretch(0, source.text_size)])]
        return [b"{%d}\r\n" % sum(map(len, octets)), *octets]
    if part is None:
        return None
    if _is_plain(part):
        octets = [*_cut(item, [Stretch(part.body_start, part.end)])]
        return [b"{%d}\r\n" % sum(map(len, octets)), *octets]
    if part.size <= AT_ONCE:
        made = _decoder(part.encoding)
        data = made.feed(read(source, part.body_start, part.end)) + made.finish()
        octets = [*_cut(item, [data])]
        nul = any(b"\0" in bytes(piece) for piece in octets if isinstance(piece, bytes | memoryview))
    elif not large:
        raise LargePartError
    else:
        size, nul = _measure(part, source, read)
        first, count = item.partial or (0, size)
        octets = [Decoded(part, first, max(0, min(count, size - first)))]
    return [b"~{%d}\r\n" % sum(map(len, octets)) if nul else b"{%d}\r\n" % sum(map(len, octets)), *octets]


def _part(item: FetchItem, source: S) -> Part | None:
    assert item.section is not None
    return source.structure.find(item.section.path) if item.section.path else None


def _is_plain(part: Part) -> bool:
    """Whether the part has no encoding of its own. Multiparts and messages have none (RFC 2045 section 6.4)."""
    return part.encoding in IDENTITY or part.type == "multipart" or part.message is not None


def _decoder(encoding: str) -> Decoder:
    made = decoder(encoding)
    if made is None:
        raise RefusalError("The part has a transfer encoding that is not known here", "UNKNOWN-CTE")
    return made


def _cut(item: FetchItem, octets: list[Piece]) -> list[Piece]:
    return octets if item.partial is None else cut(octets, *item.partial)


def _measure(part: Part, source: S, read: Read[S]) -> tuple[int, bool]:
    """How many octets a part has when it is decoded, and whether NUL is among them."""
    made = _decoder(part.encoding)
    size, nul = 0, False
    for octets in _decoded(made, part, source, read):
        size += len(octets)
        nul = nul or b"\0" in octets
    return size, nul


def _decoded(made: Decoder, part: Part, source: S, read: Read[S]) -> Iterator[bytes]:
    for start in range(part.body_start, part.end, PIECE):
        yield made.feed(read(source, start, min(start + PIECE, part.end)))
    yield made.finish()
