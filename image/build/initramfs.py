"""Step: the initramfs as one packed cpio archive: programs with their libraries, early modules, and our script."""

from __future__ import annotations

import shutil
from pathlib import Path

from image.build import cpio
from image.build.command import BuildError
from image.build.elf import ElfError, closure
from image.build.kernel import ModuleIndex
from image.build.roots import kernel_of
from image.build.work import Work
from image.initramfs.contents import PROGRAMS, files

COMPRESSION_LEVEL = 19
_FOLDERS = ("dev", "etc", "proc", "run", "sys", "tmp", "data", "root", "slot", "boot")
_MERGED = ("usr/bin", "usr/sbin", "usr/lib")  # /bin, /sbin and /lib are links, as in Debian's root


def make_initramfs(work: Work, output: Path) -> None:
    """`initramfs.cpio.zst`."""
    tree = output / "tree"
    for name in (*_FOLDERS, *_MERGED):
        (tree / name).mkdir(parents=True)
    for name in _MERGED:
        (tree / Path(name).name).symlink_to(name)
    _copy_programs(work["system"] / "root", tree)
    _copy_modules(work, tree)
    for name, data in files().items():
        path = tree / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if data.startswith(b"#!") else 0o644)
    archive = output / "initramfs.cpio"
    archive.write_bytes(cpio.archive(cpio.tree(tree)))
    work.tools.run("zstd", "-q", "--rm", f"-{COMPRESSION_LEVEL}", archive, "-o", output / "initramfs.cpio.zst")
    shutil.rmtree(tree)


def _copy_programs(root: Path, tree: Path) -> None:
    try:
        needed = dict(closure(root, PROGRAMS))
    except ElfError as error:
        raise BuildError(
            f"initramfs: {error}", remedy="image/debian/packages must hold it, excludes must not"
        ) from error
    for name, source in needed.items():
        target = tree / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755)


def _copy_modules(work: Work, tree: Path) -> None:
    source = work["kernel"] / "root/usr/lib/modules"
    release = kernel_of(work["kernel"] / "root")
    index = ModuleIndex.read(source / release)
    target = tree / "usr/lib/modules" / release
    for name in (work["kernel"] / "initramfs-modules").read_text().split():
        path = target / index.paths[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / release / index.paths[name], path)
    for path in (source / release).glob("modules.builtin*"):
        shutil.copyfile(path, target / path.name)
    shutil.copyfile(source / release / "modules.order", target / "modules.order")
    work.tools.run("depmod", "-b", tree / "usr", release)
