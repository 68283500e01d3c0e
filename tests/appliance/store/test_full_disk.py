"""A disk that is really full: a small file system of its own, filled to the last block."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]


@pytest.mark.root
def test_mail_is_refused_nothing_is_lost_and_service_resumes(tmp_path: Path) -> None:
    on_a_small_disk(tmp_path, 28, "filling")


@pytest.mark.root
def test_removed_mail_gives_room_although_the_log_owes_more_than_the_reserve(tmp_path: Path) -> None:
    on_a_small_disk(tmp_path, 16, "owing")


def on_a_small_disk(folder: Path, mib: int, program: str) -> None:
    """Run one of the programs beside this file with a file system of so many MiB."""
    script = (
        f"mount -t tmpfs -o size={mib}m tmpfs {folder} && exec {sys.executable} -m tests.appliance.store.{program}"
        f" {folder}/data {folder}/ballast"
    )
    space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*space, "sh", "-c", script],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
