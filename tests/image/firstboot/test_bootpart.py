"""Writing on the boot partition: only when something changes, and whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from image.firstboot import __main__ as command
from image.firstboot.bootpart import BootPartError, BootPartition


def test_equal_content_is_not_written(tmp_path: Path) -> None:
    part = BootPartition(tmp_path)
    assert part.write("boot.env", b"one")
    before = os.stat(tmp_path / "boot.env")
    assert not part.write("boot.env", b"one")
    assert os.stat(tmp_path / "boot.env") == before
    assert part.write("boot.env", b"two")
    assert os.listdir(tmp_path) == ["boot.env"]


def test_names_are_found_in_any_case_and_long_files_are_seen_to_be_long(tmp_path: Path) -> None:
    (tmp_path / "Palomar.TOML").write_bytes(b"x" * 100)
    part = BootPartition(tmp_path)
    assert part.read("palomar.toml", 10) == b"x" * 11
    part.write("palomar.toml", b"y")
    assert os.listdir(tmp_path) == ["Palomar.TOML"]
    part.remove("PALOMAR.TOML")
    assert part.read("palomar.toml", 10) is None


def test_old_secrets_are_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "palomar.toml"
    path.write_bytes(b"password")
    with path.open("rb") as old:
        BootPartition(tmp_path).write("palomar.toml", b"blank", wipe=True)
        assert old.read() == b"\0" * 8
    assert path.read_bytes() == b"blank"


def test_each_step_is_on_the_card_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT in Linux: a renamed name leads to the new content only when the file itself was synced once more."""
    steps: list[str] = []
    sync, rename = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        sync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        steps.append(f"rename to {target.name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_rename)
    (tmp_path / "palomar.toml").write_bytes(b"password")
    BootPartition(tmp_path).write("palomar.toml", b"blank", wipe=True)
    assert steps == [
        "sync palomar.toml.NEW",
        "rename to palomar.toml",
        f"sync {tmp_path.name}",
        "sync palomar.toml",
        "sync palomar.toml (deleted)",  # the old content, overwritten
    ]


def test_leftovers_of_a_cut_are_overwritten_and_removed(tmp_path: Path) -> None:
    for name in ("palomar.toml.NEW", "FSCK0000.REC", "fsck0001.rec", "FSCK0000.REC.txt", "palomar.toml"):
        (tmp_path / name).write_bytes(b"password")
    with (tmp_path / "FSCK0000.REC").open("rb") as saved:
        BootPartition(tmp_path).remove_leftovers()
        assert saved.read() == b"\0" * 8
    assert sorted(os.listdir(tmp_path)) == ["FSCK0000.REC.txt", "palomar.toml"]


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "palomar.toml").mkdir()
    with pytest.raises(BootPartError, match="cannot read"):
        BootPartition(tmp_path).read("palomar.toml", 10)


def test_only_names_of_the_top_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--boot", str(tmp_path), "write", "../passwd"]) == 1
    assert "top folder" in capsys.readouterr().err
    assert command.main(["--boot", str(tmp_path), "reset", "--all"]) == 1
    assert command.main(["--boot", str(tmp_path), "reset", "--all", "--delete-all-mail"]) == 0
    assert (tmp_path / "RESET-ALL").read_text() == "delete all mail\n"


@pytest.mark.root
def test_a_read_only_mount_is_writable_only_meanwhile(tmp_path: Path) -> None:
    script = """
        set -e
        mount -t tmpfs -o mode=755 none "$1"
        mount -o remount,ro "$1"
        printf one | "$2" -m image.firstboot --boot "$1" write boot.env
        cat "$1/boot.env"
        grep " $1 " /proc/self/mounts | cut -d" " -f4 | cut -d, -f1
    """
    command_line = ("unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]))
    done = subprocess.run(
        (*command_line, "sh", "-c", script, "sh", str(tmp_path), sys.executable),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n")[0] == "onero", done.stderr
