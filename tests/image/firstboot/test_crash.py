"""The power goes after each operation on the data partition; the next start makes up for it."""

from __future__ import annotations

import shutil
import tomllib

import pytest

from image.firstboot import boot, identity, taken
from image.firstboot.bootpart import BootPartition
from image.firstboot.durable import Disk
from image.firstboot.places import CONFIG_NAME
from tests.image.firstboot.conftest import Card, CutDisk, PowerCutError

RELAY = '[[smarthost.hosts]]\nhost = "smtp.example"\nusername = "office"\npassword = "s3cret-relay"\n'
MOST = 60  # operations; a start that needs more shall be looked at


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
            taken.take(card.places, disk, BootPartition(card.places.boot), name, "1", card.told.append)
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
