"""The command line of palomar-hw, as the units call it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "image/rootfs/usr/lib/systemd/system/palomar-hw.service"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "--help"), 0),
        (("--help",), 0),
        (("walk",), 2),
        (("led", "disco"), 2),
        (("log", "--folder", "/none"), 0),
    ],
)
def test_its_words(arguments: tuple[str, ...], code: int) -> None:
    done = subprocess.run([sys.executable, "-m", "hw", *arguments], capture_output=True, check=False)
    assert done.returncode == code, done.stderr


def test_the_unit_uses_them() -> None:
    (line,) = re.findall(r"^ExecStart=\S+/palomar-hw (.*)$", UNIT.read_text(), re.MULTILINE)
    done = subprocess.run([sys.executable, "-m", "hw", *line.split(), "--help"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
