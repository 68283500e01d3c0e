"""Step: the read-only root as erofs, then its dm-verity hash tree; and `slot.conf`, which tells the initramfs."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from pathlib import Path

from image.build.command import BuildError, run
from image.build.work import Work

BLOCK = 4096
SECTOR = 512
ROOT_OFFSET = 64 << 20
"""Bytes from the start of a slot to its root."""
SLOT_SIZE = 512 << 20
# Tried on this root: lz4hc 2.7 s and 61 MiB, zstd 9.9 s and 51 MiB, either with fragments or dedupe some minutes.
# lz4 unpacks fastest on a small board, and the download is compressed once more.
COMPRESSION = "lz4hc,9"
CLUSTER = 65536
NAMESPACE = uuid.UUID("6f7b1c7e-64aa-5a0e-9d2b-5f3f2d0c9a11")


def make_root(work: Work, output: Path) -> None:
    """`root.img` (file system and tree) and `slot.conf`."""
    tree = output / "tree"
    run(["cp", "-al", work["system"] / "root", tree])
    for step in ("libraries", "palomar"):
        run(["cp", "-a", f"{work[step]}/root/.", tree])
    release = {
        "name": "palomar",
        "version": version(work.checkout),
        "slot_format": 1,
        "inputs": inputs_digest(work),
        "built_from": work.epoch,
    }
    (tree / "usr/lib/palomar-release.json").write_text(json.dumps(release, indent=1) + "\n")
    (output / "release.json").write_text(json.dumps(release, indent=1) + "\n")
    image = output / "root.img"
    make_erofs(work, tree, image, seed=release["inputs"])
    run(["rm", "-rf", tree])
    (output / "slot.conf").write_text(add_hash_tree(work, image))


def version(checkout: Path) -> str:
    """Palomar's version as pyproject.toml has it."""
    match = re.search(r'^version = "([^"]+)"', (checkout / "pyproject.toml").read_text(), re.MULTILINE)
    if match is None:
        raise BuildError("pyproject.toml has no version")
    return match[1]


def inputs_digest(work: Work) -> str:
    """What the root is made of, as one digest: the outputs it comes from, by their keys."""
    keys = [work[step].resolve().name for step in ("system", "libraries", "palomar")]
    return hashlib.sha256(" ".join(keys).encode()).hexdigest()


def make_erofs(work: Work, tree: Path, image: Path, *, seed: object, compression: str = COMPRESSION) -> None:
    """Pack a tree; all times are the epoch, the identifier comes from `seed`."""
    options = [f"-z{compression}", f"-C{CLUSTER}", f"-T{work.epoch}", "--all-time", "--quiet"]
    identifier = uuid.uuid5(NAMESPACE, str(seed))
    work.tools.run("mkfs.erofs", *options, f"-U{identifier}", image, tree)


def add_hash_tree(work: Work, image: Path) -> str:
    """Append the dm-verity tree (SHA-256, format 1, no superblock) and return what describes it, in shell syntax."""
    blocks = -(-image.stat().st_size // BLOCK)
    with image.open("r+b") as file:
        file.truncate(blocks * BLOCK)
        file.seek(0)
        salt = hashlib.file_digest(file, "sha256").hexdigest()
    options = ("--no-superblock", "--hash=sha256", f"--data-block-size={BLOCK}", f"--hash-block-size={BLOCK}")
    place = (f"--data-blocks={blocks}", f"--hash-offset={blocks * BLOCK}", f"--salt={salt}")
    told = work.tools.run("veritysetup", "format", *options, *place, image, image)
    match = re.search(r"Root hash:\s*([0-9a-f]{64})", told)
    if match is None:
        raise BuildError(f"veritysetup told no root hash: {told}")
    size = image.stat().st_size
    if ROOT_OFFSET + size > SLOT_SIZE:
        raise BuildError(f"the root takes {size >> 20} MiB, a slot has {(SLOT_SIZE - ROOT_OFFSET) >> 20} for it")
    return (
        f"root_offset={ROOT_OFFSET // SECTOR}\nroot_sectors={size // SECTOR}\ndata_blocks={blocks}\n"
        f"hash_start={blocks}\nroot_hash={match[1]}\nsalt={salt}\n"
    )
