"""Copyright files that are prose: what a person read in them (the table `prose`), or else their whole text."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from image.products.licences import Extracted

TABLE = Path(__file__).with_name("prose")
MAX_TEXT = 256 << 10
DIGITS = 16  # of a file's SHA-256
_FILE = "file"


@functools.cache
def read_table() -> dict[str, str]:
    """Beginning of a file's SHA-256 → SPDX expression, with the word `file` for the file's own text."""
    lines = (line.partition("#")[0].split(maxsplit=1) for line in TABLE.read_text().splitlines())
    return {words[0]: words[1].strip() for words in lines if words}


def prose_expression(data: bytes, extracted: Extracted) -> str:
    """The licence of a package whose copyright file is `data`. Packages with the same file share one reference."""
    digest = hashlib.sha256(data).hexdigest()[:DIGITS]
    words = read_table().get(digest, _FILE).split()
    if _FILE not in words:
        return " ".join(words)
    text = data[:MAX_TEXT].decode("utf-8", "replace").strip()
    reference = extracted.reference("copyright-file", digest, text)
    return " ".join(reference if word == _FILE else word for word in words)
