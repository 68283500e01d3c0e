"""A restore in the eyes of mbsync, which has seen mail that the backup does not know of."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.store import Database, Store
from appliance.store.rewind import change_uidvalidity, raise_past
from tests.e2e import letters
from tests.e2e.appliance_process import Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader
from tests.e2e.programs import ProgramError
from tests.e2e.test_mbsync import ANA, Mbsync, add_flags

pytestmark = pytest.mark.e2e
Restored = tuple[Appliance, Mbsync]


async def rewound(folder: Path, work: Callable[[Database], None]) -> None:
    """What the command that restores does before the appliance starts."""
    store = Store.open(folder, reserve_bytes=0)
    await store.start()
    await store.write(work)
    await store.close()


@pytest.fixture
def restored(make_appliance: Make, trust: Path, tmp_path: Path) -> Callable[[Callable[[Database], None]], Restored]:
    """Five messages, a backup, three more that mbsync fetches, a restore, two more."""

    def restore(rewind: Callable[[Database], None]) -> Restored:
        appliance = make_appliance()
        mbsync = Mbsync(appliance, tmp_path, trust, ANA, "imaps", "PLAIN")
        data, backup = appliance.folder / "data", tmp_path / "backup"
        for number in range(5):
            appliance.deliver(letters.plain(f"before-{number}"))
        mbsync()
        assert appliance.stop() == 0
        shutil.copytree(data, backup)
        appliance.start()
        for number in range(3):
            appliance.deliver(letters.plain(f"since-{number}"))
        add_flags(mbsync.files()["before-1"], "FS")
        mbsync()
        assert len(mbsync.files()) == 8
        assert appliance.stop() == 0
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        asyncio.run(rewound(data, rewind))
        appliance.start()
        for number in range(2):
            appliance.deliver(letters.plain(f"after-{number}"))
        return appliance, mbsync

    return restore


def test_with_uids_raised_everything_that_is_there_is_fetched_and_nothing_mistaken(
    restored: Callable[[Callable[[Database], None]], Restored],
) -> None:
    appliance, mbsync = restored(raise_past)
    mbsync()
    with Reader(appliance) as reader:
        stored = {letters.header_value(message, "Subject") for message in reader.messages()}
    assert stored >= {f"before-{number}" for number in range(5)} | {"after-0", "after-1"}
    files = mbsync.files()
    assert set(files) == stored
    for subject, path in files.items():
        assert subject.encode() in path.read_bytes()


def test_with_another_uidvalidity_mbsync_stops_and_touches_nothing(
    restored: Callable[[Callable[[Database], None]], Restored],
) -> None:
    appliance, mbsync = restored(change_uidvalidity)
    here = mbsync.snapshot()
    with pytest.raises(ProgramError, match="UIDVALIDITY genuinely changed"):
        mbsync()
    assert mbsync.snapshot() == here
    with Reader(appliance) as reader:
        assert reader.count() == 7
