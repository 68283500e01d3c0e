"""Take the files out of a finished image again, without mounting anything: what is proven is what is shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

from image.build.slot import slot_facts
from image.build.toolroot import ToolRoot
from image.build.verity import BLOCK, ROOT_OFFSET
from image.products.partitions import read_partitions

_PIECE = 4 << 20


def copy_part(image: Path, start: int, size: int, target: Path) -> Path:
    """Copy `size` bytes at `start` of the image to a file of their own, and return it."""
    with image.open("rb") as source, target.open("wb") as part:
        source.seek(start)
        while size > 0:
            piece = source.read(min(size, _PIECE))
            if not piece:
                raise EOFError(f"{image.name} ends before {start + size}")
            part.write(piece)
            size -= len(piece)
    return target


def take_out(tools: ToolRoot, image: Path, slot_conf: Path, folder: Path) -> dict[str, Path]:
    """Unpack the image's file systems below `folder`: {"boot", "slot", "root", "data"} → the folder of its files."""
    parts = {part.number: part for part in read_partitions(image)}
    trees = {name: folder / name for name in ("boot", "slot", "root", "data")}
    for tree in trees.values():
        tree.mkdir(parents=True)
    boot = copy_part(image, parts[1].start, parts[1].size, folder / "boot.img")
    head = copy_part(image, parts[2].start, ROOT_OFFSET, folder / "slot.img")
    blocks = int(slot_facts(slot_conf)["data_blocks"])
    root = copy_part(image, parts[2].start + ROOT_OFFSET, blocks * BLOCK, folder / "root.img")
    data = copy_part(image, parts[4].start, parts[4].size, folder / "data.img")
    for fat, name in ((boot, "boot"), (head, "slot")):
        tools.run("mcopy", "-s", "-n", "-m", "-i", fat, "::", trees[name], env={"MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"})
    trees["root"].rmdir()
    tools.run("fsck.erofs", f"--extract={trees['root']}", "--preserve", root)
    tools.run("debugfs", "-R", f"rdump / {trees['data']}", data)
    for part in (boot, head, root, data):
        part.unlink()
    shutil.rmtree(trees["data"] / "lost+found", ignore_errors=True)
    return trees
