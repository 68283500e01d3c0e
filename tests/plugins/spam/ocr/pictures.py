"""Images for the tests: one that says "Cheap watches today", and headers of any size."""

from __future__ import annotations

import base64
import struct

WATCHES = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAaQAAAA8AQAAAAABdfMCAAACRElEQVRIx+3UQYvTQBQH8IlRgyAN4mUPxTl48OytwtARPHj1Iyx48biylwoh"
    "U91Dj/MJpF/DYyVibuYrpHSxHjPm8oLDPF/Sddk2SZGeFDq5hCk//m9e34ThAatgR3VUR/UvqnVrv7zxXnWqgqet/dWNd+hUi2AnK7tWTvVm"
    "3bnYydLXFdp+FZa9WY0yXcrJX71Z/RVaid8D9J3vThG5TheKKX8V4Hv0EHyQ8MwFBvmuUvjFt4ye5xLnYTblLGI/PcdihuDlYeGBZ5xsq/w1"
    "vIl+xAOO8yD7GGqY5K/sSAhlVTJbfoYculRiwCobSY460KizAmkjFvW5ZskqR4DmgFsKSRmnXCxJPNGYZYYUoKh7qFepQWvtrgKFayiddKJR"
    "c0y1wZWtcKgoa6OiqKVoDquCSTZWGr895nlIWaWdsCEnxcvMOBZNsH2utMqZYJHK8Os5nwZ6RVkFe+TTb3OjK2CuS1GFCPF4o8K0UTQR0ytV"
    "2HjUmbVEcIIqvDyXPG0qfEfDrhyp1BjrnnbMxhoMqfpcl2+lzJpuQN1B6gadq7TqQXsOKctgRf+XxhwknzVZjdp03oB62DHzaQU4gZjzKwWU"
    "Rb2us2ZJsjSAFy314cW6AjE5E3c5FqAGYQKj0tqh+KScrCeqOFVtRXcZLItujWl6SU1fLgQrbcxOqHqfpvce3FazlqLvRoWeG4gzuoFWLdKC"
    "borFqfMRPZD2xN7HtKX+rO1Z215Zr3J7lD4oq1/ty+KHKOhXeyoE1av+fh3VUf3H6jddPoWWSfMCCQAAAABJRU5ErkJggg=="
)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0) + b"\0" * 8


def gif(*frames: tuple[int, int], screen: tuple[int, int] = (100, 50)) -> bytes:
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0" * 6
    for width, height in frames:
        out += b"\x21\xf9\x04\0\0\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02ab\0"
    return out + b"\x3b"


def jpeg(width: int, height: int, before: bytes = b"\xff\xe0\0\4ab\xff\xdb\0\3c") -> bytes:
    return b"\xff\xd8" + before + b"\xff\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\0" * 3


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + struct.pack("<I", len(body)) + body


def bmp(width: int, height: int) -> bytes:
    return b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, width, height)
