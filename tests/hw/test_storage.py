"""The medium: what it is, how worn, and in which words that is told. And the notes that others leave."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from hw.messages import Note, Storage, Vitals
from hw.notes import MAX_NOTES, NotesWatch, read_notes
from hw.part import Facts
from hw.storage import (
    FULL_LOOKS,
    LOOK_EVERY_S,
    StorageWatch,
    differs,
    kind_of,
    life_percent_used,
    notes_of,
    read_storage,
    written_bytes,
)
from hw.vitals import differs as vitals_differ
from hw.vitals import notes_of as vitals_notes
from hw.vitals import remembering

GIB = 1 << 30
STAT = "  10 0 800 5 77 3 20480 9 0 12 14 0 0 0 0 1 2\n"


def disk(root: Path, path: str, partition: str, number: str, **files: str) -> Path:
    """A disk with one partition, as sysfs shows them."""
    folder = root / "sys/devices" / path
    (folder / partition).mkdir(parents=True)
    (folder / partition / "partition").write_text("4\n")
    (folder / "device").mkdir()
    (folder / "stat").write_text(STAT)
    for name, text in files.items():
        (folder / "device" / name).write_text(text + "\n")
    link = root / "sys/dev/block" / number
    link.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(folder / partition, link)
    return folder


CARD = {"type": "SD", "name": "SD32G", "oemid": "0x5344", "date": "03/2024"}
EMMC = {"type": "MMC", "name": "BJTD4R", "oemid": "0x0100", "date": "01/2023", "life_time": "0x03 0x04"}
USB = {"vendor": "Samsung ", "model": "Portable SSD T5", "ioerr_cnt": "0x2"}


@pytest.mark.parametrize(
    ("path", "partition", "files", "expected"),
    [
        ("platform/mmc_host/mmc0/block/mmcblk0", "mmcblk0p4", CARD, ("sd", "SD32G oem 0x5344 of 03/2024", None, 0)),
        ("platform/mmc_host/mmc0/block/mmcblk0", "mmcblk0p4", EMMC, ("emmc", "BJTD4R oem 0x0100 of 01/2023", 40, 0)),
        ("pci0/nvme/nvme0/nvme0n1", "nvme0n1p4", {"model": "SN550"}, ("nvme", "SN550", None, 0)),
        ("platform/usb1/1-1/host0/block/sda", "sda4", USB, ("usb", "Samsung Portable SSD T5", None, 2)),
        ("pci0/virtio1/block/vda", "vda4", {"vendor": "0x1af4"}, ("other", "", None, 0)),
    ],
)
def test_what_the_data_is_on(
    tmp_path: Path, path: str, partition: str, files: dict[str, str], expected: tuple[Any, ...]
) -> None:
    disk(tmp_path, path, partition, "179:4", **files)
    found = read_storage(tmp_path, tmp_path, device="179:4")
    assert (found.kind, found.name, found.life_percent_used, found.errors) == expected
    assert found.written_bytes == 20480 * 512
    assert 0 < found.free_bytes <= found.size_bytes
    assert not found.read_only


def test_what_ext4_has_counted(tmp_path: Path) -> None:
    disk(tmp_path, "block/mmcblk0", "mmcblk0p4", "179:4", **CARD)
    (tmp_path / "sys/fs/ext4/mmcblk0p4").mkdir(parents=True)
    (tmp_path / "sys/fs/ext4/mmcblk0p4/errors_count").write_text("3\n")
    assert read_storage(tmp_path, tmp_path, device="179:4").errors == 3


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    assert read_storage(tmp_path / "none", tmp_path).read_only


def test_this_machine_can_be_read() -> None:
    assert read_storage(Path("/"), Path("/")).size_bytes > 0


@pytest.mark.parametrize(
    ("text", "percent"),
    [("0x01 0x02", 20), ("0x0b 0x01", 110), ("0x00 0x00", None), ("", None), ("x", None), ("0xff", 110)],
)
def test_life_of_an_emmc(text: str, percent: int | None) -> None:
    assert life_percent_used(text) == percent


def test_an_odd_stat_is_nothing_written() -> None:
    assert written_bytes("") == written_bytes("1 2 3") == 0
    assert kind_of(Path("/sys/devices/none")) == "other"


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        ({}, []),
        ({"read_only": True}, ["error"]),
        ({"errors": 1}, ["error"]),
        ({"life_percent_used": 80}, []),
        ({"life_percent_used": 90}, ["warning"]),
        ({"free_bytes": 4 * GIB}, []),
        ({"free_bytes": 3 * GIB}, ["warning"]),
        ({"free_bytes": 1 * GIB}, ["error"]),
        ({"free_bytes": 0, "errors": 2, "read_only": True}, ["error", "error"]),
    ],
)
def test_what_a_person_should_know(facts: dict[str, Any], levels: list[str]) -> None:
    storage = Storage(**{"kind": "sd", "size_bytes": 32 * GIB, "free_bytes": 30 * GIB, **facts})
    assert [note.level for note in notes_of(storage)] == levels


def test_that_mail_is_refused_is_told_instead_of_a_share() -> None:
    reserve = Storage(size_bytes=55 << 20, free_bytes=33 << 20)  # more than half is free: for removals
    assert not notes_of(reserve)
    (note,) = notes_of(reserve, full=True)
    assert (note.source, note.level) == ("storage", "error")
    assert note.text.startswith("The data partition of 55 MiB is full: new mail is refused. Delete mail")
    assert notes_of(Storage(size_bytes=55 << 20), full=True) == (note,)
    (other,) = notes_of(Storage(size_bytes=55 << 20, read_only=True), full=True)
    assert "cannot be written" in other.text


def test_a_message_more_or_less_is_not_news() -> None:
    before = Storage(size_bytes=GIB, free_bytes=GIB // 2, written_bytes=5)
    assert not differs(before, Storage(size_bytes=GIB, free_bytes=GIB // 2 - 4096, written_bytes=5000))
    assert differs(before, Storage(size_bytes=GIB, free_bytes=GIB // 4, written_bytes=5))
    assert differs(before, Storage(size_bytes=GIB, free_bytes=GIB // 2, written_bytes=5, errors=1))


async def test_only_news_is_reported(tmp_path: Path) -> None:
    disk(tmp_path, "block/mmcblk0", "mmcblk0p4", "179:4", **CARD)
    reported: list[Facts] = []
    turns = 0

    async def sleep(seconds: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 5:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)

    task = asyncio.create_task(StorageWatch(tmp_path, tmp_path, sleep=sleep).run(reported.append))
    while turns < 5:
        await asyncio.sleep(0)
    assert sum(isinstance(facts, Storage) for facts in reported) == 1
    task.cancel()
    await asyncio.wait([task])


async def test_a_refusal_is_told_at_once_and_stays_for_some_looks(tmp_path: Path) -> None:
    reported: list[Facts] = []
    turns, slept = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        assert seconds == LOOK_EVERY_S
        slept.release()
        await turns.acquire()

    def told() -> list[tuple[Note, ...]]:
        return [facts for facts in reported if isinstance(facts, tuple)]

    watch = StorageWatch(tmp_path, sleep=sleep)
    watch.mail_room(full=True)  # before anybody listens
    watch.mail_room(full=False)
    task = asyncio.create_task(watch.run(reported.append))
    await slept.acquire()
    assert len(told()) == 1
    for full in (False, True, True, False, True, False):
        watch.mail_room(full=full)
    assert len(told()) == 1  # once, however often it comes and goes
    for _ in range(FULL_LOOKS):
        assert "new mail is refused" in told()[-1][0].text
        turns.release()
        await slept.acquire()
    assert not any("new mail is refused" in note.text for note in told()[-1])
    watch.mail_room(full=True)
    for _ in range(2 * FULL_LOOKS):
        turns.release()
        await slept.acquire()
    assert "new mail is refused" in told()[-1][0].text
    task.cancel()
    await asyncio.wait([task])


# ── notes of others ───────────────────────────────────────────────────────────────────────────────────────────────


def test_notes_are_read_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "firstboot").write_text("error: [network] line 4: no such setting.\ninfo: SSH is off.\n\nplain words\n")
    (tmp_path / "update").write_bytes(b"warning: \xff odd\n")
    (tmp_path / ".hidden").write_text("error: no\n")
    assert list(read_notes(tmp_path)) == [
        Note(source="firstboot", level="error", text="[network] line 4: no such setting."),
        Note(source="firstboot", level="info", text="SSH is off."),
        Note(source="firstboot", level="info", text="plain words"),
        Note(source="update", level="warning", text="\ufffd odd"),
    ]
    assert list(read_notes(tmp_path / "none")) == []


def test_a_long_file_is_cut(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("warning: again\n" * 1000)
    assert len(list(read_notes(tmp_path))) == MAX_NOTES


async def test_notes_come_and_go(tmp_path: Path) -> None:
    reported: list[Facts] = []
    turns = asyncio.Semaphore(0)

    async def sleep(seconds: float) -> None:
        await turns.acquire()

    task = asyncio.create_task(NotesWatch(tmp_path, sleep=sleep).run(reported.append))
    await asyncio.sleep(0)
    (tmp_path / "x").write_text("error: one\n")
    for _ in range(2):
        turns.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    (tmp_path / "x").unlink()
    turns.release()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert reported == [(Note(source="x", level="error", text="one"),), ()]
    task.cancel()
    await asyncio.wait([task])


# ── vitals ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("vitals", "levels"),
    [
        (Vitals(), []),
        (Vitals(temperature_c=60.0, known=True), []),
        (Vitals(known=True, undervoltage=True, undervoltage_seen=True), ["error"]),
        (Vitals(known=True, undervoltage_seen=True), ["warning"]),
        (Vitals(temperature_c=81.0), ["warning"]),
        (Vitals(known=True, hot=True, throttled=True), ["warning"]),
        (Vitals(known=True, throttled=True), ["warning"]),
    ],
)
def test_what_the_board_s_vitals_mean(vitals: Vitals, levels: list[str]) -> None:
    assert [note.level for note in vitals_notes(vitals)] == levels


def test_under_voltage_is_not_forgotten() -> None:
    seen = remembering(Vitals(known=True, undervoltage_seen=True), Vitals(known=True))
    assert seen.undervoltage_seen


@pytest.mark.parametrize(
    ("before", "after", "news"), [(50.0, 51.0, False), (50.0, 54.0, True), (None, 50.0, True), (None, None, False)]
)
def test_a_breath_of_warmth_is_not_news(before: float | None, after: float | None, news: bool) -> None:
    assert vitals_differ(Vitals(temperature_c=before), Vitals(temperature_c=after)) is news
