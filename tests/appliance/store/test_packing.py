"""zstd frames: what comes back, damage, and frames that would unpack to more than they may."""

from __future__ import annotations

import base64
import random

import pytest
import zstandard

from appliance.errors import StoreError
from appliance.store.packing import packed, packed_attachment, packed_each, unpacked

TEXT = random.Random(1).randbytes(5000).hex().encode()


def test_what_was_packed_comes_back() -> None:
    frame = packed(memoryview(TEXT))
    assert len(frame) < len(TEXT)
    assert unpacked(frame, len(TEXT)) == unpacked(memoryview(frame), len(TEXT)) == TEXT
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.has_checksum) == (len(TEXT), True)


def test_no_octet_can_change_or_be_missing() -> None:
    frame = packed(TEXT)
    for at in range(len(frame)):
        bad = bytearray(frame)
        bad[at] ^= 0x10
        try:
            assert unpacked(bytes(bad), len(TEXT)) == TEXT  # an unused bit of the frame's head
        except StoreError:
            continue
    for bad in (b"", frame[:-1], frame[1:], frame + b"x", frame + frame):
        with pytest.raises(StoreError):
            unpacked(bad, len(TEXT))


@pytest.mark.parametrize("size", [0, len(TEXT) - 1, len(TEXT) + 1])
def test_a_frame_holds_what_is_expected_or_is_damaged(size: int) -> None:
    with pytest.raises(StoreError):
        unpacked(packed(TEXT), size)


def test_a_frame_that_does_not_tell_its_size_is_bounded_as_well() -> None:
    packer = zstandard.ZstdCompressor(write_content_size=False)
    assert unpacked(packer.compress(TEXT), len(TEXT)) == TEXT
    with pytest.raises(StoreError):
        unpacked(packer.compress(bytes(50_000_000)), 1000)


def test_what_other_writers_of_zstd_made_is_read() -> None:
    """Several blocks in one frame, as releases before this one wrote them."""
    writer = zstandard.ZstdCompressor(level=2, write_checksum=True).compressobj(size=len(TEXT))
    frame = writer.compress(TEXT[:3000]) + writer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    frame += writer.compress(TEXT[3000:]) + writer.flush()
    assert unpacked(frame, len(TEXT)) == TEXT


def test_of_attachments_only_what_repeats_is_packed() -> None:
    """Base64 of a photo would shrink by a quarter, but only by codes that take long to read."""
    photo = base64.encodebytes(random.Random(2).randbytes(90_000)).replace(b"\n", b"\r\n")
    frame = packed_attachment(photo)
    assert len(packed(photo)) < len(photo) * 0.8 < len(frame) < len(photo) + 40
    assert unpacked(frame, len(photo)) == photo
    assert zstandard.get_frame_parameters(frame).has_checksum
    table = b"".join(b"%d;a name;%d.%02d EUR\r\n" % (row, row * 7, row % 100) for row in range(3000))
    assert packed_attachment(memoryview(table)) == packed(table)
    assert unpacked(packed_attachment(b""), 0) == b""


def test_several_texts_are_packed_as_each_alone() -> None:
    texts = [b"%d again and again\r\n" % number * 50 for number in range(9)]
    assert packed_each(texts) == [packed(text) for text in texts]
    assert packed_each(texts[:1]) == [packed(texts[0])]
    assert [unpacked(frame, len(text)) for frame, text in zip(packed_each(texts), texts, strict=True)] == texts
