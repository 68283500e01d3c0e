"""What people read first of a message can be unpacked without what is attached to it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from appliance.errors import StoreError
from appliance.mail.message import Message
from appliance.store import Account, Store, bodies, texts
from appliance.store.segments import Segments
from appliance.store.texts import FEED, FRAMES, ZSTD
from tests.appliance.store.samples import accept, box, rows

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = b"Subject: two parts\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"


def mixed(text: int, attached: int) -> Message:
    """A text and an attachment of so many octets; both shrink by about a half."""
    source = random.Random(text)
    octets = bytes(source.choices(b"0123456789abcdef", k=text + attached))
    return Message.parse(
        HEADER + b"--x\r\n\r\n" + octets[:text] + b"\r\n--x\r\nContent-Type: image/png\r\n\r\n" + octets[text:]
    )


@pytest.mark.parametrize(("attached", "codec"), [(20_000, ZSTD), (100_000, ZSTD), (400_000, FRAMES)])
def test_the_first_text_ends_a_block(tmp_path: Path, attached: int, codec: int) -> None:
    message = mixed(3000, attached)
    segments = Segments(tmp_path / "segments")
    made = bodies.prepare(message, segments)
    assert made.codec == codec
    stored = made.text
    if stored is None:
        assert made.extent is not None
        stored = segments.read(made.extent.segment, made.extent.position, made.stored)
    end = message.structure.parts[0].end
    start = zstd.ZstdDecompressor().decompress(stored[:3100], max_length=end)
    assert start == bytes(message.text[:end])
    segments.close()


def test_a_short_rest_gets_no_block_of_its_own(tmp_path: Path) -> None:
    message = mixed(30_000, bodies.MIN_REST // 2)
    made = bodies.prepare(message, Segments(tmp_path / "segments"))
    assert made.text == bodies._compressors.reused.compress(message.text, zstd.ZstdCompressor.FLUSH_FRAME)


@pytest.mark.parametrize("attached", [0, 1000, 20_000, 100_000, 300_000, 600_000])
async def test_texts_with_a_lead_come_back_as_they_were(store: Store, ana: Account, attached: int) -> None:
    messages = [mixed(length, attached) for length in (10, FEED - 100, 3 * FEED, 300_000)]
    for message in messages:
        await accept(store, message, ana)
    found = rows(store, box(store, ana))
    for row, message, loaded in zip(found, messages, await store.load_many(found), strict=True):
        assert bytes(loaded.text) == bytes(message.text)
        ends = [part.end for part in message.structure.walk()]
        for end in ends:
            (start,) = await store.each([row], lambda _, __, loaded: bytes(loaded.text), reach=lambda _, end=end: end)  # type: ignore[misc]
            assert start == bytes(message.text[:end])


@pytest.mark.parametrize("most", [0, 1, 100, FEED, FEED + 1, 99_999, 100_000, 100_001])
def test_as_much_is_unpacked_as_is_asked_for(most: int) -> None:
    octets = bytes(random.Random(1).choices(b"0123456789abcdef", k=100_000))
    stored = zstd.compress(octets, 2)
    assert len(stored) > 2 * FEED
    assert texts._unpacked(stored, most) == octets[:most]
    assert texts._unpacked(stored[:-1000], 200_000) != octets
    with pytest.raises(StoreError):
        texts._unpacked(b"x" + stored, most or 1)
