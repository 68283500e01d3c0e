"""The state as a file: whoever takes the sign away first misses nothing, whenever that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hw.statefile import NEWS, STATE, write_state
from image.qemu import CHECKOUT
from tests.hw.fake_hw import state

UNITS = CHECKOUT / "image/rootfs/usr/lib/systemd/system"


def test_the_sign_comes_back_with_each_state(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_state(tmp_path, state(hostname=name))
        assert json.loads((tmp_path / STATE).read_text())["hostname"] == name
        (tmp_path / NEWS).unlink()


def test_there_is_no_sign_of_what_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / STATE).mkdir()
    with pytest.raises(OSError):
        write_state(tmp_path, state())
    assert not (tmp_path / NEWS).exists()


def test_the_units_watch_that_sign_and_take_it_away_first() -> None:
    sign = f"/run/palomar-hw/{NEWS}"
    assert f"PathExists={sign}" in (UNITS / "palomar-status.path").read_text().splitlines()
    lines = (UNITS / "palomar-status.service").read_text().splitlines()
    starts = [line for line in lines if line.startswith("Exec")]
    assert starts[0] == f"ExecStartPre=rm -f {sign}"
    assert starts[1] == "ExecStart=/usr/bin/palomar-boot status-file"
