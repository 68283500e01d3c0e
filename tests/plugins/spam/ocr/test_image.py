"""The size that an image's header tells, and any octets at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.spam.ocr.protocol_image import Size, image_size
from tests.plugins.spam.ocr.pictures import WATCHES, bmp, gif, jpeg, png, webp


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (WATCHES, Size(420, 60)),
        (png(60_000, 60_000), Size(60_000, 60_000)),
        (png(0, 5), None),
        (gif((100, 50)), Size(100, 50)),
        (gif((40_000, 50), (10, 60_000)), Size(40_000, 60_000, 2)),
        (gif((10, 10))[:-1], None),
        (jpeg(300, 200), Size(300, 200)),
        (jpeg(300, 200, b"\xff\xda\0\2"), None),
        (b"\xff\xd8" + b"\xff\xe0\0\2" * 2000, None),
        (webp(b"VP8X", b"\0" * 4 + b"\x2b\1\0\xc7\0\0"), Size(300, 200)),
        (webp(b"VP8X", b"\2\0\0\0\x2b\1\0\xc7\0\0"), None),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 299 | 199 << 14)), Size(300, 200)),
        (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 300, 200)), Size(300, 200)),
        (bmp(300, -200), Size(300, 200)),
        (b"II*\0", None),
        (b"<svg/>", None),
        (b"", None),
    ],
    ids=lambda one: "x".join(map(str, one)) if isinstance(one, Size) else "none" if one is None else one[:4].hex(),
)
def test_a_size(data: bytes, size: Size | None) -> None:
    assert image_size(data) == size


STARTS = [WATCHES[:40], gif((9, 9)), jpeg(9, 9), webp(b"VP8X", b"\0" * 10), webp(b"VP8L", b"\x2f1234"), bmp(9, 9)]


@given(st.sampled_from(STARTS), st.integers(0, 60), st.binary(max_size=6), st.integers(0, 60))
def test_broken_headers_are_read_or_not(start: bytes, place: int, change: bytes, length: int) -> None:
    broken = (start[:place] + change + start[place + len(change) :])[:length]
    size = image_size(broken)
    assert size is None or size.pixels > 0


@given(st.sampled_from([b"GIF89a", b"\xff\xd8\xff", b"RIFF....WEBP", b"BM", WATCHES[:8]]), st.binary(max_size=99))
def test_any_octets_behind_a_signature(start: bytes, rest: bytes) -> None:
    size = image_size(start + rest)
    assert size is None or size.pixels > 0
