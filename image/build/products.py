"""Step: the image compressed, looked through for anything unique, with all that comes beside it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import tempfile
from pathlib import Path

from image.boards.boards import read_boards
from image.build.command import BuildError
from image.build.debian import mirror_hosts
from image.build.kernel import unsupported
from image.build.slot import slot_facts
from image.build.takeout import take_out
from image.build.work import Work
from image.products.release import Release, write_products
from image.unique import Tree, find_unique

# Tried: -1 17 s and 77 MiB, -4 41 s and 72 MiB. Two threads always: the output depends on threads or none.
COMPRESSION = ("--threads=2", "-1", "--check=crc64", "--keep", "--force")
SHOWN = 20
SHORT = 5  # a host name of fewer letters occurs by chance


def make_products(work: Work, output: Path) -> None:
    """`palomar-VERSION-arm64.img.xz` and its companions. Raises BuildError if anything unique is in the image."""
    (image,) = work["whole"].glob("*.img")
    prove_nothing_unique(work, image)
    packed = output / f"{image.name}.xz"
    with packed.open("wb") as target:
        work.tools.pipe(target, "xz", *COMPRESSION, "--stdout", image)
    boards = read_boards(work.checkout / "image/boards")
    refused = unsupported(work["parts"] / "root", boards)
    served = [board for board in boards if not any(text.startswith(board.title + ":") for text in refused)]
    release = json.loads((work["root"] / "release.json").read_text())
    write_products(
        Release(
            version=release["version"],
            epoch=work.epoch,
            inputs=release["inputs"],
            image=image,
            packed=packed,
            slot=work["slot"] / "slot.img",
            root_hash=slot_facts(work["root"] / "slot.conf")["root_hash"],
            boards={board.name: board.title for board in served},
            imager_tags=[tag for board in served for tag in board.imager_tags],
            debian=json.loads((work["system"] / "packages.json").read_text()),
            copyrights=work["system"] / "copyrights",
            python=[path.parent for step in ("libraries", "palomar") for path in _first_metadata(work[step])],
        )
    )


def _first_metadata(output: Path) -> list[Path]:
    """One *.dist-info of each folder that has some."""
    found = {path.parent: path for path in sorted(output.rglob("*.dist-info"))}
    return [found[folder] for folder in sorted(found)]


def traces(checkout: Path) -> list[str]:
    """Texts that tell where the image was built: no file may hold them."""
    host = socket.gethostname()
    ours = [str(checkout), *(name for name in mirror_hosts() if not name.endswith("debian.org"))]
    return [*ours, host] if len(host) >= SHORT and re.search(r"\d", host) else ours


def prove_nothing_unique(work: Work, image: Path) -> None:
    """Take the image apart and look through all its files. Raises BuildError with what was found."""
    folder = Path(tempfile.mkdtemp(prefix="palomar-takeout-"))
    try:
        trees = take_out(work.tools, image, work["root"] / "slot.conf", folder)
        looked: dict[str, Tree] = {"boot": "boot", "slot": "boot", "root": "root", "data": "data"}
        found = [
            f"{name}: {finding}"
            for name, tree in looked.items()
            for finding in find_unique(trees[name], tree, traces=traces(work.checkout))
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if found:
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise BuildError("these are in the image and must not be:\n  " + "\n  ".join(found[:SHOWN]) + more)
