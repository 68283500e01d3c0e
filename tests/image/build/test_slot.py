"""The plain archive behind the initramfs, and what describes a slot."""

from __future__ import annotations

from pathlib import Path

from image.build.cpio import plain_files
from image.build.slot import slot_facts


def test_every_member_of_the_archive_begins_and_ends_at_a_multiple_of_four() -> None:
    for length in range(9):
        archive = plain_files({"n" * (length + 1): b"x" * length})
        assert len(archive) % 4 == 0
        assert archive.count(b"070701") == 2
        assert archive.index(b"070701", 6) % 4 == 0


def test_the_archive_tells_names_sizes_and_modes() -> None:
    archive = plain_files({"slot.conf": b"root_hash=ab\n"})
    fields = [int(archive[6 + 8 * place : 14 + 8 * place], 16) for place in range(13)]
    assert fields[1] == 0o100644
    assert fields[2] == fields[3] == 0  # root's
    assert fields[5] == 0  # no time
    assert fields[6] == len(b"root_hash=ab\n")
    assert fields[11] == len("slot.conf") + 1
    assert b"TRAILER!!!\0" in archive


def test_the_facts_of_a_slot(tmp_path: Path) -> None:
    path = tmp_path / "slot.conf"
    path.write_text("root_offset=131072\nroot_hash=abc\n")
    assert slot_facts(path) == {"root_offset": "131072", "root_hash": "abc"}
