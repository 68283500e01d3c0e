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
    script = (
        f"mount -t tmpfs -o size=28m tmpfs {tmp_path} && exec {sys.executable} -m tests.appliance.store.filling"
        f" {tmp_path}/data {tmp_path}/ballast"
    )
    space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*space, "sh", "-c", script],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
