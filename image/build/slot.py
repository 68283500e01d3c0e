"""Step: one slot as it stands on the card: a small FAT with kernel, initramfs and device trees, then the root."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

from image.build.command import BuildError
from image.build.cpio import plain_files
from image.build.verity import ROOT_OFFSET
from image.build.work import Work

FAT_LABEL = "SLOT"


def make_slot(work: Work, output: Path) -> None:
    """`slot.img`, and `slot.json` about it."""
    release = json.loads((work["root"] / "release.json").read_text())
    files = {
        "vmlinuz": packed_kernel(work, output),
        "initramfs": whole_initramfs(work),
        "slot.json": (json.dumps(release, indent=1) + "\n").encode(),
    }
    files |= {f"dtb/{path.name}": path.read_bytes() for path in sorted((work["kernel"] / "dtb").iterdir())}
    image = output / "slot.img"
    make_fat(work, image, ROOT_OFFSET, FAT_LABEL, files)
    with image.open("r+b") as slot, (work["root"] / "root.img").open("rb") as root:
        slot.seek(ROOT_OFFSET)
        while piece := root.read(1 << 20):
            slot.write(piece)
    about = {**release, "bytes": image.stat().st_size, "root": slot_facts(work["root"] / "slot.conf")}
    (output / "slot.json").write_text(json.dumps(about, indent=1) + "\n")


def packed_kernel(work: Work, scratch: Path) -> bytes:
    """The kernel as gzip packs it: of all that U-Boot unpacks on each board the quickest to be read and unpacked."""
    path = scratch / "vmlinuz.gz"
    with path.open("wb") as target:
        work.tools.pipe(target, "gzip", "-9", "--no-name", "--stdout", work["kernel"] / "vmlinuz")
    data = path.read_bytes()
    path.unlink()
    return data


def slot_facts(path: Path) -> dict[str, str]:
    """What `slot.conf` says: `name=value` lines."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def whole_initramfs(work: Work) -> bytes:
    """The packed archive, and behind it a plain one with `slot.conf`, so that a new root needs no new archive."""
    packed = (work["initramfs"] / "initramfs.cpio.zst").read_bytes()
    filled = packed + bytes(-len(packed) % 4)  # the kernel looks for the next archive at a multiple of four
    return filled + plain_files({"slot.conf": (work["root"] / "slot.conf").read_bytes()})


def make_fat(work: Work, image: Path, size: int, label: str, files: Mapping[str, bytes]) -> None:
    """A FAT32 file system of `size` bytes with these files (path → content), the same for the same content."""
    needed = sum(len(data) for data in files.values())
    if needed > size - (2 << 20):
        raise BuildError(f"{label}: {needed >> 20} MiB of files do not fit into {size >> 20} MiB")
    with image.open("wb") as file:
        file.truncate(size)
    identifier = f"{zlib.crc32(label.encode()):08x}"
    work.tools.run(
        "mkfs.fat", "--invariant", "-F32", "-S512", f"-s{_cluster(size)}", f"-i{identifier}", f"-n{label}", image
    )
    tree = image.with_suffix(".files")
    environment = {**work.environment, "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}
    for folder in sorted({str(Path(name).parent) for name in files} - {"."}):
        work.tools.run("mmd", "-i", image, f"::{folder}", env=environment)
    for name, data in sorted(files.items()):
        source = tree / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(data)
        os.utime(source, (work.epoch, work.epoch))
        work.tools.run("mcopy", "-m", "-i", image, source, f"::{name}", env=environment)
    shutil.rmtree(tree)


def _cluster(size: int) -> int:
    """Sectors of a cluster: as large as leaves FAT32 the 65,525 clusters without which it is taken for FAT16."""
    return 1 if size < 256 << 20 else 2 if size < 512 << 20 else 8
