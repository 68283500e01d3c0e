"""Libraries of programs, and archives for the kernel."""

from __future__ import annotations

import contextlib
import stat
import struct
from pathlib import Path

import pytest

from image.build import cpio
from image.build.elf import ElfError, closure, inside, linked


def elf(*needed: str, loader: str = "") -> bytes:
    """A small aarch64 program or library: one load segment over the file, a dynamic section, perhaps a loader."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    interp = loader.encode() + b"\0"
    count = 3 if loader else 2
    at_strings = 64 + 56 * count
    at_interp = at_strings + len(strings)
    at_dynamic = at_interp + len(interp)
    offsets, place = [], 1
    for name in needed:
        offsets.append(place)
        place += len(name) + 1
    dynamic = b"".join(struct.pack("<qQ", 1, offset) for offset in offsets)
    dynamic += struct.pack("<qQqQ", 5, at_strings, 0, 0)
    total = at_dynamic + len(dynamic)
    head = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    )
    segments = [(1, 0, total), (2, at_dynamic, len(dynamic))]
    if loader:
        segments.append((3, at_interp, len(interp)))
    table = b"".join(struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 8) for kind, at, size in segments)
    return head + table + strings + interp + dynamic


def test_needed_libraries_and_loader() -> None:
    program = elf("libc.so.6", "libdevmapper.so.1", loader="/lib/ld-linux-aarch64.so.1")
    assert linked(program) == ("/lib/ld-linux-aarch64.so.1", ["libc.so.6", "libdevmapper.so.1"])
    assert linked(elf("libc.so.6")) == (None, ["libc.so.6"])


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(60)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ElfError):
        linked(data)


def test_every_cut_of_a_program_is_refused_or_read(tmp_path: Path) -> None:
    whole = elf("libc.so.6", loader="/lib/ld.so")
    read = []
    for size in range(len(whole)):
        with contextlib.suppress(ElfError):
            read.append(linked(whole[:size]))
    assert len(read) < len(whole)  # most cuts are refused, by ElfError and nothing else


def make_root(tmp_path: Path) -> Path:
    libraries = tmp_path / "usr/lib/aarch64-linux-gnu"
    libraries.mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "usr/bin/dmsetup").write_bytes(elf("libb.so", loader="/lib/ld.so"))
    (libraries / "libb.so.1.2").write_bytes(elf("libc.so.6"))
    (libraries / "libb.so").symlink_to("/usr/lib/aarch64-linux-gnu/libb.so.1.2")
    (libraries / "libc.so.6").write_bytes(elf())
    (tmp_path / "usr/lib/ld.so").write_bytes(elf())
    return tmp_path


def test_a_program_brings_all_it_needs_from_its_own_root(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    assert [name for name, _ in closure(root, ["/usr/bin/dmsetup"])] == [
        "/usr/bin/dmsetup",
        "/lib/ld.so",
        "/usr/lib/aarch64-linux-gnu/libb.so",
        "/usr/lib/aarch64-linux-gnu/libc.so.6",
    ]


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "usr/lib/aarch64-linux-gnu/libc.so.6").unlink()
    with pytest.raises(ElfError, match=r"libb\.so needs libc\.so\.6"):
        list(closure(root, ["/usr/bin/dmsetup"]))


def test_links_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/b")
    (tmp_path / "b").symlink_to("/a")
    with pytest.raises(ElfError, match="too many"):
        inside(tmp_path, "/a")


def test_archives_do_not_depend_on_times_and_owners(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/init").write_text("#!")
    (tmp_path / "b/init").chmod(0o755)
    (tmp_path / "a").symlink_to("b/init")
    members = list(cpio.tree(tmp_path))
    assert [member.name for member in members] == ["a", "b", "b/init"]
    assert stat.S_ISLNK(members[0].mode)
    assert members[0].data == b"b/init"
    packed = cpio.archive(members)
    assert packed == cpio.archive(cpio.tree(tmp_path))
    assert len(packed) % 4 == 0
    assert packed.startswith(b"070701")
