"""The steps in their order, and the run over them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from image.boards.boards import read_boards
from image.build import environment, initramfs, kernel, products, prune, roots, slot, system, verity, whole
from image.build.cache import Cache, Step, content_fingerprint
from image.build.command import BuildError
from image.build.progress import Progress
from image.build.work import Work

FOLDER = "build/image"
FROM_DEBIAN = ("tools", "parts", "base")

_BOARDS = "image/boards"
_INITRAMFS = ("image/initramfs", "image/bootstate.py")


def steps(checkout: Path) -> list[Step[Work]]:
    """Every step of the build, each after what it needs."""
    versions = roots.versions_fingerprint
    return [
        Step(
            name="tools",
            title="tool root (amd64)",
            run=roots.make_tools,
            settings={"command": shlex.join(roots.tools_command(checkout))},
            own_source=False,
            fingerprint=versions,
        ),
        Step(
            name="parts",
            title="kernel, firmware, boot loader",
            run=roots.make_parts,
            settings={"command": shlex.join(roots.parts_command(checkout))},
            own_source=False,
            fingerprint=versions,
        ),
        Step(
            name="base",
            title="Debian's root (arm64)",
            run=roots.make_base,
            settings={"command": shlex.join(roots.base_command(checkout))},
            own_source=False,
            fingerprint=versions,
        ),
        Step(
            name="kernel",
            title="kernel modules, device trees",
            run=kernel.make_kernel,
            after=("parts",),
            inputs=(kernel.MODULES, kernel.FIRMWARE, _BOARDS),
            fingerprint=content_fingerprint("root", "dtb", "vmlinuz", "initramfs-modules"),
        ),
        Step(
            name="system",
            title="root without Palomar",
            run=system.make_system,
            after=("tools", "base", "parts", "kernel"),
            inputs=(system.OVERLAY, prune.EXCLUDES, "image/build/prune.py"),
            fingerprint=content_fingerprint("root", "packages.json"),
        ),
        Step(
            name="wheels",
            title="Python packages (aarch64)",
            run=environment.make_wheels,
            after=("parts",),
            inputs=(environment.LOCK,),
            fingerprint=content_fingerprint("wheels"),
        ),
        Step(
            name="libraries",
            title="Python packages, laid out",
            run=environment.make_libraries,
            after=("tools", "parts", "wheels"),
            inputs=("image/build/elf.py",),
            fingerprint=content_fingerprint("root"),
        ),
        Step(
            name="palomar",
            title="Palomar's own code",
            run=environment.make_palomar,
            after=("tools", "parts"),
            inputs=("pyproject.toml", "README.md", "LICENSE", "appliance", "plugins", "hw", "image"),
            fingerprint=content_fingerprint("root"),
        ),
        Step(
            name="root",
            title="read-only root, verity",
            run=verity.make_root,
            after=("tools", "parts", "system", "libraries", "palomar"),
            inputs=("pyproject.toml",),
        ),
        Step(
            name="initramfs",
            title="initramfs",
            run=initramfs.make_initramfs,
            after=("tools", "kernel", "system"),
            inputs=(*_INITRAMFS, "image/build/cpio.py", "image/build/elf.py"),
            fingerprint=content_fingerprint("initramfs.cpio.zst"),
        ),
        Step(
            name="slot",
            title="slot image",
            run=slot.make_slot,
            after=("tools", "parts", "kernel", "root", "initramfs"),
            inputs=("image/build/cpio.py",),
        ),
        Step(
            name="boot",
            title="boot partition",
            run=whole.make_boot,
            after=("tools", "parts", "kernel"),
            inputs=(whole.BOOTLOADER, whole.TEMPLATE, _BOARDS, "image/bootstate.py", "image/build/slot.py"),
            fingerprint=content_fingerprint("boot.img"),
        ),
        Step(
            name="data",
            title="data partition",
            run=whole.make_data,
            after=("tools", "parts"),
            fingerprint=content_fingerprint("data.img"),
        ),
        Step(
            name="whole",
            title="whole card",
            run=whole.make_whole,
            after=("tools", "slot", "boot", "data"),
            inputs=("pyproject.toml",),
        ),
        Step(
            name="products",
            title="compressed image, products",
            run=products.make_products,
            after=("tools", "parts", "system", "libraries", "palomar", "root", "slot", "whole"),
            inputs=("image/products", "image/unique.py", "image/build/takeout.py", _BOARDS),
        ),
    ]


def build(
    checkout: Path,
    *,
    until: str | None = None,
    fresh: bool = False,
    chain: Sequence[Step[Work]] | None = None,
    progress: Progress | None = None,
) -> Work:
    """Run what must be run. `fresh` asks Debian's mirror again; `until` names the last step.

    Raises BuildError, its text naming the step.
    """
    chain = steps(checkout) if chain is None else chain
    if until is not None:
        chain = chain[: [step.name for step in chain].index(until) + 1]
    progress = progress or Progress(len(chain))
    cache = Cache(checkout / FOLDER, checkout)
    with cache.alone(lambda: progress.say("image: another build runs in this checkout; waiting for it")):
        return _run(chain, cache, Work(checkout=checkout, note=progress.note), progress, fresh=fresh)


def _run(chain: Sequence[Step[Work]], cache: Cache, work: Work, progress: Progress, *, fresh: bool) -> Work:
    known: dict[str, str] = {}
    for step in chain:
        progress.begin(step.title)
        key = cache.key(step, known)
        found = None if fresh and step.name in FROM_DEBIAN else cache.find(step.name, key)
        if found is None:
            try:
                found = cache.make(step, key, work)
            except BuildError as error:
                raise BuildError(f"step {step.name} ({step.title}): {error}", remedy=error.remedy) from error
            progress.end("made")
        else:
            progress.end("kept")
        work.outputs[step.name], known[step.name] = found
    return work


def tell_boards(work: Work, progress: Progress) -> None:
    """Say which boards the packaged kernel serves, and which not and why."""
    boards = read_boards(work.checkout / _BOARDS)
    refused = kernel.unsupported(work["parts"] / "root", boards)
    names = [board.title for board in boards if not any(text.startswith(board.title + ":") for text in refused)]
    progress.say("for: " + ", ".join(names))
    for text in refused:
        progress.say(f"not for {text}")


def publish(work: Work) -> list[Path]:
    """Put the raw image (sparse), its compressed form and all that belongs to it into `build/`; return their paths.

    Links to the kept outputs: the same files for all who read them. Whoever wants to write to an image copies it.
    """
    target = work.checkout / "build"
    for old in target.glob("palomar-*"):
        old.unlink()
    published = []
    for source in sorted([*work["whole"].glob("*.img"), *work["products"].glob("palomar-*")]):
        place = target / source.name
        place.symlink_to(os.path.relpath(source, target))
        published.append(place)
    return published
