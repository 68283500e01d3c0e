"""SHA-256 of files, and the files that `sha256sum --check` reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

PIECE = 4 << 20


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as lower-case hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sha256(path: Path) -> Path:
    """Write FILE.sha256 beside FILE, in the form of sha256sum, and return its path."""
    beside = path.with_name(path.name + ".sha256")
    beside.write_text(f"{sha256_of(path)}  {path.name}\n")
    return beside
