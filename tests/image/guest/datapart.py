"""The data partition of a card that is switched off: look into it, fill it, damage it, by e2fsprogs' own tools."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from image.build.command import CommandError
from image.build.toolroot import ToolRoot
from image.qemu import TOOLS
from tests.image.guest.card import Card

_PIECE = 1 << 20
_REPAIRED = 1  # e2fsck(8)


class DataPartition:
    """Taken out of the card, and put back at the end. `scratch` is a folder for it."""

    def __init__(self, card: Card, scratch: Path) -> None:
        self._card = card
        self._offset, self._size = card.place(4)
        self._scratch = scratch
        self._tools = ToolRoot(TOOLS)
        self._image = scratch / "data.img"

    def __enter__(self) -> DataPartition:
        _copy(self._card.path, self._offset, self._image, 0, self._size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            _copy(self._image, 0, self._card.path, self._offset, self._size)
        self._image.unlink()

    def header(self) -> dict[str, str]:
        """What dumpe2fs says of the file system: its state, its features…"""
        lines = self._tools.run("dumpe2fs", "-h", self._image).splitlines()
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def is_clean(self) -> bool:
        """Whether it was unmounted in order: nothing to replay, nothing to check."""
        header = self.header()
        return header["Filesystem state"] == "clean" and "needs_recovery" not in header["Filesystem features"].split()

    def check(self, how: str) -> int:
        """Run e2fsck `-p`, `-y` or `-n`; its code."""
        try:
            self._tools.run("e2fsck", how, self._image)
        except CommandError as error:
            return error.status
        return 0

    def names(self, folder: str) -> list[str]:
        """What lies in a folder."""
        lines = self._tools.run("debugfs", "-R", f"ls -p {folder}", self._image).splitlines()
        parts = [line.split("/") for line in lines if line.count("/") >= 6]  # /inode/mode/owner/group/name/size/
        return [part[5] for part in parts if part[1] != "0"]

    def fill(self) -> None:
        """Let files take every block that is left, those that ext4 keeps for root as well."""
        assert self.check("-p") in {0, _REPAIRED}
        block = int(self.header()["Block size"])
        filler = self._scratch / "filler"
        for size in (_PIECE, block):
            filler.write_bytes(b"x" * size)
            while count := self._free() // (size + block):  # a new file may need a block for its name
                self._debug(*(f"write {filler} filler-{size}-{self._free()}-{number}" for number in range(count)))
        while self._free():
            self._debug(f"write {filler} filler-{self._free()}")
        filler.unlink()

    def _free(self) -> int:
        """Octets."""
        header = self.header()
        return int(header["Free blocks"]) * int(header["Block size"])

    def damage(self) -> None:
        """What a dying card does: the top folder is lost, another one too, and counts do not fit.

        The kernel has noticed, so that the next check is a full one ("with errors").
        """
        assert self.check("-p") in {0, _REPAIRED}
        self._debug(
            "set_inode_field /mail links_count 9",
            "clri /log",
            "clri <2>",
            "set_block_group 0 free_blocks_count 7",
            "set_super_value state 2",
        )

    def _debug(self, *commands: str) -> None:
        script = self._scratch / "debugfs"
        script.write_text("".join(f"{command}\n" for command in commands))
        self._tools.run("debugfs", "-w", "-f", script, self._image)


def _copy(source: Path, source_offset: int, target: Path, target_offset: int, size: int) -> None:
    """Copy part of a file. Holes stay holes where the target has them."""
    target.touch()
    with source.open("rb") as reader, target.open("r+b") as writer:
        writer.truncate(max(target.stat().st_size, target_offset + size))
        for place in range(0, size, _PIECE):
            reader.seek(source_offset + place)
            writer.seek(target_offset + place)
            piece = reader.read(min(_PIECE, size - place))
            if writer.read(len(piece)) != piece:
                writer.seek(target_offset + place)
                writer.write(piece)
