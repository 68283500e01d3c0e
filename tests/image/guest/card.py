"""A card to start from: a copy of the built image, with files on its boot partition."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

from image.build.toolroot import ToolRoot
from image.qemu import BUILT, CHECKOUT, TOOLS

BOOT_SCRIPT = CHECKOUT / "image/bootloader/boot.cmd"
SECTOR = 512
PARTITION_TABLE = 446  # its offset in the first sector
MTOOLS = {"MTOOLS_SKIP_CHECK": "1"}


def place(image: Path, number: int) -> tuple[int, int]:
    """Offset and size of a partition, in bytes; 1 to 4."""
    with image.open("rb") as file:
        entry = file.read(SECTOR)[PARTITION_TABLE + 16 * (number - 1) :][:16]
    start, sectors = int.from_bytes(entry[8:12], "little"), int.from_bytes(entry[12:16], "little")
    return start * SECTOR, sectors * SECTOR


class Card:
    """A raw image file that stands for the SD card."""

    def __init__(self, path: Path, size: int = 4 << 30, *, source: Path | None = None) -> None:
        """Copy the built image (or `source`) and make it `size` bytes: a card is larger than what is written to it."""
        self.path = path
        source = source or next((BUILT / "whole").glob("palomar-*.img"))
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, path], check=True)
        with path.open("r+b") as file:
            file.truncate(size)
        self._tools = ToolRoot(TOOLS)

    @property
    def disk(self) -> str:
        """For `image.qemu.Setup`."""
        return str(self.path)

    def place(self, number: int) -> tuple[int, int]:
        """Offset and size of a partition, in bytes; 1 to 4."""
        return place(self.path, number)

    def digest(self, number: int) -> str:
        """SHA-256 of a partition."""
        offset, left = self.place(number)
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(offset)
            while left and (piece := file.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
        return digest.hexdigest()

    def put(self, name: str, text: str, scratch: Path) -> None:
        """Write a file on the boot partition."""
        self.put_bytes(name, text.encode(), scratch)

    def put_bytes(self, name: str, data: bytes, scratch: Path) -> None:
        """Write a file on the boot partition."""
        source = scratch / "put"
        source.write_bytes(data)
        self._tools.run("mcopy", "-o", "-i", f"{self.path}@@{self.place(1)[0]}", source, f"::{name}", env=MTOOLS)

    def read(self, name: str, scratch: Path) -> str:
        """A text of the boot partition. Raises what the tool says if there is none."""
        return self.read_bytes(name, scratch).decode()

    def read_bytes(self, name: str, scratch: Path) -> bytes:
        """A file of the boot partition. Raises what the tool says if there is none."""
        target = scratch / "got"
        target.unlink(missing_ok=True)
        self._tools.run("mcopy", "-n", "-i", f"{self.path}@@{self.place(1)[0]}", f"::{name}", target, env=MTOOLS)
        return target.read_bytes()

    def set_kernel_options(self, options: str, scratch: Path) -> None:
        """Replace the boot script by the same one with more words on the kernel's line."""
        source, target = scratch / "boot.cmd", scratch / "boot.scr"
        source.write_text(f"setenv palomar_extra {options}\n{BOOT_SCRIPT.read_text()}")
        self._tools.run("mkimage", *("-A", "arm64", "-T", "script", "-C", "none", "-d", source, target))
        self.put_bytes("boot.scr", target.read_bytes(), scratch)

    def fill(self, number: int, pieces: Iterable[bytes]) -> None:
        """Write over the beginning of a partition."""
        with self.path.open("r+b") as file:
            file.seek(self.place(number)[0])
            for piece in pieces:
                file.write(piece)
