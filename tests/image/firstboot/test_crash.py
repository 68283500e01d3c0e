"""The power goes after each operation on the data partition; the next start makes up for it."""

from __future__ import annotations

import contextlib
import shutil
import tomllib
from pathlib import Path

import pytest

from image.firstboot import boot, effective, identity, taken
from image.firstboot.bootpart import BootPartition
from image.firstboot.durable import Disk
from image.firstboot.places import CONFIG_NAME, STATUS_NAME, Places
from image.firstboot.system import Done, run_palomar
from tests.image.firstboot.conftest import Card, CutDisk, PowerCutError

RELAY = '[[smarthost.hosts]]\nhost = "smtp.example"\nusername = "office"\npassword = "s3cret-relay"\n'
MOST = 60  # operations; a start that needs more shall be looked at


@pytest.fixture(autouse=True)
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Palomar is asked once about each draft of a test: a process for each cut would take minutes to say the same."""
    answers: dict[tuple[bytes, tuple[str, ...]], Done] = {}

    def ask(places: Places, *arguments: str) -> Done:
        asked = Path(arguments[1]).read_bytes(), arguments
        if asked not in answers:
            answers[asked] = run_palomar(places, *arguments)
        return answers[asked]

    monkeypatch.setattr(effective, "run_palomar", ask)


def test_the_identity_is_made_once_however_often_the_power_goes(card: Card) -> None:
    for after in range(MOST):
        try:
            identity.ensure(card.places, CutDisk(after), card.told.append)
            ended = True
        except PowerCutError:
            ended = False
        kept = {
            path: path.read_bytes()
            for path in card.places.identity.rglob("*")
            if path.is_file() and path.suffix != ".new"
        }
        found = identity.ensure(card.places, Disk(), card.told.append)
        assert {path: path.read_bytes() for path in kept} == kept  # what was made once stays
        assert identity.ensure(card.places, CutDisk(0), card.told.append) == found  # nothing is left to do
        assert not list(card.places.data.rglob("*.new"))
        shutil.rmtree(card.places.identity)
        if ended:
            break
    else:
        pytest.fail("it never came to an end")
    assert after > 8


def test_a_cut_never_loses_a_secret_or_the_configuration(card: Card) -> None:
    name = identity.ensure(card.places, Disk(), card.told.append).name
    boot._folders(card.places, Disk())
    for after in range(MOST):
        card.put(RELAY)
        disk = CutDisk(after)
        try:
            taken.take(card.places, disk, BootPartition(card.places.boot, disk.done), name, "1", card.told.append)
            ended = True
        except PowerCutError:
            ended = False
        outcome = taken.take(card.places, Disk(), BootPartition(card.places.boot), name, "1", card.told.append)
        assert outcome.problems == ()
        assert tomllib.loads(card.effective)["smarthost"]["hosts"][0]["password"] == "s3cret-relay"
        assert "s3cret-relay" not in card.read()
        for folder in (card.places.config, card.places.state):
            for path in folder.iterdir():
                path.unlink()
        if ended:
            break
    else:
        pytest.fail("it never came to an end")
    assert after > 8


SETUP = f"""
hostname = "mail.example.org"
domains = ["example.org"]

{RELAY}
[[setup.accounts]]
name = "ana@example.org"
password = "s3cret-of-ana"
"""


def first_start_cut(card: Card, after: int) -> list[str]:
    """A first start that is cut after so many operations on either partition, and the next one, which must be well.

    Returns the operations that were done before the cut, all of them where it came to its end.
    """
    card.put(SETUP)
    disk = CutDisk(after)
    with contextlib.suppress(PowerCutError):
        card.boot(disk)
    report = card.boot()
    assert report.failures == ()
    assert report.outcome.problems == ()
    assert report.outcome.hostname == "mail.example.org"
    assert report.outcome.accounts == ("ana@example.org",)
    assert tomllib.loads(card.effective)["smarthost"]["hosts"][0]["password"] == "s3cret-relay"
    on_card = card.snapshot()
    assert set(on_card) == {"config.txt", CONFIG_NAME, STATUS_NAME}
    assert not any(b"s3cret" in data for data, _ in on_card.values())
    third = CutDisk(1000)
    card.boot(third)
    assert third.operations == []  # nothing was left to do
    return disk.operations


@pytest.mark.parametrize("after", [20, 38, 40, 41, 42, 48])
def test_a_first_start_that_was_cut_is_finished_by_the_next(card: Card, after: int) -> None:
    assert len(first_start_cut(card, after)) == after


@pytest.mark.slow
def test_a_first_start_may_be_cut_after_each_of_its_operations(card: Card) -> None:
    fresh = card.snapshot()
    for after in range(MOST):
        done = first_start_cut(card, after)
        if len(done) < after:
            break
        for name in card.snapshot():
            (card.places.boot / name).unlink()
        for name, (data, _) in fresh.items():
            card.put(data, name)
        for folder in (card.places.data, card.places.run, card.places.etc):
            shutil.rmtree(folder)
            folder.mkdir()
    else:
        pytest.fail("it never came to an end")
    assert f"rename {CONFIG_NAME}" in done
    assert f"wipe {CONFIG_NAME}" in done
    assert f"rename {STATUS_NAME}" in done


@pytest.mark.parametrize("after", [0, 1, 3, 5, 8])
def test_a_reset_that_was_cut_is_done_to_the_end(card: Card, after: int) -> None:
    card.boot()
    card.put("delete all mail", "RESET")
    with pytest.raises(PowerCutError):
        card.boot(CutDisk(after))
    report = card.boot()
    assert report.failures == ()
    assert "RESET" not in card.snapshot()
    assert not list(card.places.data.glob(".gone*"))
    assert (card.places.config / CONFIG_NAME).exists()
