"""The block map (.bmap, version 2.0): which blocks of the image must be written to a card.

bmaptool makes one from the holes of the sparse file. That is not what we need, so this is our own writer:

- bmaptool leaves out every hole, and whoever copies by the map leaves the card's old bytes there. A file system's zeros
  count (free entries of a FAT, an empty inode table, "no slot B"): only places that nobody reads may be left out, and
  the build knows them (`unused`).
- Holes depend on how the file was copied; the same image must have the same map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK = 4096
PIECE_BLOCKS = 1024
_ZEROS = bytes(BLOCK)
_NO_CHECKSUM = "0" * 64


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes from `start` up to, not including, `end`."""

    start: int
    end: int

    def holds(self, start: int, end: int) -> bool:
        return self.start <= start and end <= self.end


@dataclass(frozen=True, slots=True)
class MappedRange:
    """Blocks first..last, both included, and the SHA-256 of their bytes."""

    first: int
    last: int
    sha256: str


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(PIECE_BLOCKS * BLOCK):
        for at in range(0, len(piece), BLOCK):
            yield piece[at : at + BLOCK]


def mapped_ranges(image: Path, unused: Sequence[Extent]) -> list[MappedRange]:
    """The runs of blocks that must be written: all but those that are zero and lie in an unused extent."""
    ranges: list[MappedRange] = []
    digest, first, count = hashlib.sha256(), -1, 0
    with image.open("rb") as stream:
        for number, block in enumerate(_blocks(stream)):
            start = number * BLOCK
            skip = block == _ZEROS[: len(block)] and any(part.holds(start, start + len(block)) for part in unused)
            if not skip:
                first = number if first < 0 else first
                digest.update(block)
            elif first >= 0:
                ranges.append(MappedRange(first, number - 1, digest.hexdigest()))
                digest, first = hashlib.sha256(), -1
            count = number + 1
    if first >= 0:
        ranges.append(MappedRange(first, count - 1, digest.hexdigest()))
    return ranges


def render(size: int, ranges: Sequence[MappedRange]) -> bytes:
    """The XML. Its own checksum is that of the same text with zeros in the checksum's place."""
    mapped = sum(part.last - part.first + 1 for part in ranges)
    rows = "\n".join(
        f'        <Range chksum="{part.sha256}"> {part.first}-{part.last} </Range>'
        if part.last > part.first
        else f'        <Range chksum="{part.sha256}"> {part.first} </Range>'
        for part in ranges
    )
    text = f"""<?xml version="1.0" ?>
<!-- Which blocks of the image must be written; for bmaptool and others that read this format. -->
<bmap version="2.0">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {BLOCK} </BlockSize>
    <BlocksCount> {-(-size // BLOCK)} </BlocksCount>
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {_NO_CHECKSUM} </BmapFileChecksum>
    <BlockMap>
{rows}
    </BlockMap>
</bmap>
"""
    return text.replace(_NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest(), 1).encode()


def write_bmap(image: Path, output: Path, *, unused: Sequence[Extent] = ()) -> None:
    """Write the block map of `image`. `unused` are the places where a card's old bytes may stay."""
    output.write_bytes(render(image.stat().st_size, mapped_ranges(image, unused)))
