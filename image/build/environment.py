"""Steps: Palomar's Python environment for the image, laid out from outside: locked wheels, then our own code."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from image.build.command import run
from image.build.elf import is_elf
from image.build.work import Work

LOCK = "requirements-image.lock"
PYTHON = "3.13"
PLACE = "usr/lib/palomar"

# Our packages' folders that work on the build machine only.
_ONLY_FOR_BUILDS = (
    "image/build",
    "image/debian",
    "image/rootfs",
    "image/initramfs",
    "image/bootloader",
    "image/products",
    "image/qemu.py",
    "image/unique.py",
    "hw/fake.py",
)
# Beside the metadata of each package: what names pip, or a path of this machine.
_OF_THE_INSTALLER = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")
# A second engine of zstandard, for interpreters without the first, is as large as all our code.
_UNUSED_FILES = ("*.pyi", "*.c", "*.h", "*.pyx", "*.pxd", "zstandard/_cffi*.so")
_NOT_FOR_SERVERS = ("tests", "test", "testing")
_SOURCES = ("appliance", "plugins", "hw", "image")


def make_wheels(work: Work, output: Path) -> None:
    """The locked wheels of others for aarch64, as the index has them, in `wheels/`."""
    _pip(work, "download", "--require-hashes", "--requirement", work.checkout / LOCK, "--dest", output / "wheels")


def make_libraries(work: Work, output: Path) -> None:
    """Those wheels laid out in `root/usr/lib/palomar`, stripped and byte-compiled, without what no server needs."""
    target = output / "root" / PLACE
    target.mkdir(parents=True)
    _install(work, sorted((work["wheels"] / "wheels").glob("*.whl")), target)
    shutil.rmtree(target / "bin", ignore_errors=True)
    for folder in [path for path in target.rglob("*") if path.is_dir() and path.name in _NOT_FOR_SERVERS]:
        shutil.rmtree(folder, ignore_errors=True)
    for path in [path for pattern in _UNUSED_FILES for path in target.rglob(pattern)]:
        path.unlink()
    strip(work, target)
    _plain(target)
    compile_tree(work, output / "root", PLACE)


def strip(work: Work, tree: Path) -> None:
    """Take symbols that only debuggers read out of the shared libraries: more than half of what wheels bring."""
    libraries = [path for path in sorted(tree.rglob("*.so*")) if is_elf(path)]
    work.tools.run("aarch64-linux-gnu-strip", "--strip-unneeded", *libraries)


def make_palomar(work: Work, output: Path) -> None:
    """Our own wheel in `root/usr/lib/palomar`, without what only builds need, byte-compiled."""
    target = output / "root" / PLACE
    target.mkdir(parents=True)
    source, wheels = output / "source", output / "wheels"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(work.checkout / name, source)
    for name in _SOURCES:
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(work.checkout / name, source / name, symlinks=True, ignore=ignore)
    for name in _ONLY_FOR_BUILDS:
        path = source / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    build: list[str | os.PathLike[str]] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels]
    run(build, cwd=source, env=work.environment, remedy="type: tools/setup image")
    (wheel,) = wheels.glob("*.whl")
    _install(work, [wheel], target)
    for scratch in (source, wheels, target / "bin"):
        shutil.rmtree(scratch, ignore_errors=True)
    _plain(target)
    compile_tree(work, output / "root", PLACE)


def compile_tree(work: Work, root: Path, place: str) -> None:
    """Byte-compile a folder of a root, for good: unchecked, because nobody can change the source.

    One process in a fixed order: what marshal writes depends on what was compiled before.
    """
    options = ("-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/")
    work.tools.python("-m", "compileall", *options, root / place, env=work.environment)


def _install(work: Work, wheels: list[Path], target: Path) -> None:
    _pip(work, "install", "--no-compile", "--no-index", "--target", target, *wheels)


def _pip(work: Work, verb: str, *arguments: str | os.PathLike[str]) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (28, 17)]
    command = [sys.executable, "-m", "pip", verb, "--no-deps", "--only-binary=:all:"]
    options = [f"--python-version={PYTHON}", "--implementation=cp", *platforms, "--platform=manylinux2014_aarch64"]
    quiet = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    remedy = "is the index of Python packages reachable? pip reads its address from PIP_INDEX_URL and pip.conf"
    run([*command, *options, *arguments], env={**quiet, **work.environment}, listen=work.note, remedy=remedy)


def _plain(tree: Path) -> None:
    """Take away what tells where and by whom a wheel was installed, and give everything plain permissions."""
    for path in tree.rglob("*"):
        if path.name in _OF_THE_INSTALLER and path.parent.suffix == ".dist-info":
            path.unlink()
        elif path.is_dir():
            path.chmod(0o755)
        else:
            path.chmod(0o644)
