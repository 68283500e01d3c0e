"""What commands teach while no appliance runs is there when one does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.app import load, opened
from appliance.calls import all_calls, learnt_for
from appliance.controlclient import DirectControl

CONFIG = """\
hostname = "mail.palomar.test"
domains = ["palomar.test"]
data = "data"
plugins = ["spam.bayes", "spam.judge", "mda", "smtp"]
[store]
reserve_mib = 0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "palomar.toml"
    path.write_text(CONFIG)
    return path


@contextlib.contextmanager
def commands(config: Path) -> Iterator[DirectControl]:
    with contextlib.closing(
        DirectControl(lambda core: all_calls(core.dispatch), opened(load(config)), learnt_for)
    ) as made:
        yield made


def test_what_is_taught_stays(config: Path) -> None:
    for number in (1, 2):
        with commands(config) as control:
            assert control.call("bayes.train", messages=[[1, 2, 3]], spam=False) == 1
            assert control.call("bayes.status")[0]["ham"] == number
    with commands(config) as control:
        assert control.call("bayes.status")[0]["ham"] == 2


def test_calls_of_the_core_read_nothing(config: Path) -> None:
    with commands(config) as control:
        assert control.call("account.list") == []
        assert learnt_for(control._core, "account.list") == []
        assert {one.name for one in learnt_for(control._core, "spam.weights")} == {"spam.bayes", "spam.judge"}
