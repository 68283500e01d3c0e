"""PDF files made by hand: good ones, and such as harm their readers (ISO 32000-2)."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence


def pdf(*pages: str) -> bytes:
    """A file with a line of text on each page."""
    return of_streams([f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode("cp1252") for text in pages])


def of_streams(streams: Sequence[bytes], filters: str = "/FlateDecode", *, packed: int = 1) -> bytes:
    """A file whose pages have these contents, packed so many times."""
    kids = " ".join(f"{4 + 2 * place} 0 R" for place in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(streams)}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for place, stream in enumerate(streams):
        for _ in range(packed):
            stream = zlib.compress(stream, 9)
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * place} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>".encode(),
            f"<</Length {len(stream)}/Filter[{filters}]>>stream\n".encode() + stream + b"\nendstream",
        ]
    return of_objects(objects)


def of_objects(objects: Sequence[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))


def letter(*files: bytes, kind: str = "application/pdf", text: str = "See the file.") -> bytes:
    """A message with files attached."""
    parts = [f"\r\n{text}\r\n".encode()]
    for octets in files:
        coded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
        parts.append(f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode() + coded)
    head = b"Subject: papers\r\nContent-Type: multipart/mixed; boundary=pdfs\r\n\r\n--pdfs\r\n"
    return head + b"\r\n--pdfs\r\n".join(parts) + b"\r\n--pdfs--\r\n"


def bombs() -> dict[str, bytes]:
    """Files that expand without end, never end, are nested without end, or are damaged, by what they do."""
    words = b"BT /F1 12 Tf (word) Tj ET\n"
    nested = b"[" * 200_000
    return {
        "expands": of_streams([bytes(1 << 28)], "/FlateDecode/FlateDecode", packed=2),
        "prints": of_streams([words * 400_000]),
        "cycle of pages": of_objects([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>"]),
        "nesting": of_objects([b"<</Type/Catalog/Pages 2 0 R/X " + nested, b"<</Type/Pages/Kids" + nested + b">>"]),
        "many pages": of_objects(
            [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[" + b"3 0 R " * 100_000 + b"]/Count 100000>>",
             b"<</Type/Page/Contents 4 0 R>>", b"<</Length 4>>stream\nBTET\nendstream"]
        ),
        "cut off": pdf("a page")[:200],
        "noise": b"%PDF-1.7\n" + bytes(range(256)) * 200,
        "nothing": b"",
    }  # fmt: skip
