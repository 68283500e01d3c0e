"""The medium under the data partition: what it is, how worn, what it has lost; and the notes that follow.

SD cards tell nothing of their wear, eMMC does in steps of a tenth (JEDEC JESD84-B51 section 7.4.70). Everything else
is watched by its effects: errors that ext4 has counted, a file system that went read-only, space that runs out. When
that is so far that no mail is taken, only the mail process knows: what is free then may be its reserve for removals.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeAlias

from hw.messages import Level, Note, Storage
from hw.part import Report

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
FULL_LOOKS = 5
"""So many looks without a refusal end the note of a full partition: near the end small messages still fit, large ones
do not, and each change of the note is a write on the boot partition."""
WORN_PERCENT = 90
LITTLE_FREE = 0.10  # share of the partition
NO_FREE = 0.05
SECTOR = 512  # of /sys/block/*/stat, whatever the device's own is
_WRITTEN_SECTORS = 6  # field of that file, from 0
_STEP = 1 << 24  # octets of free space or written data that are worth telling

Kind: TypeAlias = Literal["sd", "emmc", "nvme", "usb", "other"]


class StorageWatch:
    """The part "storage". `data` is a folder on the medium."""

    name = "storage"

    def __init__(
        self,
        data: Path = Path("/data"),
        root: Path = Path("/"),
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._data = data
        self._root = root
        self._sleep = sleep
        self._report: Report | None = None
        self._full = False
        self._full_looks = 0  # how many more the note of a full partition stays
        self._told: Storage | None = None
        self._notes: tuple[Note, ...] = ()

    async def run(self, report: Report) -> None:
        """Look once a minute until cancelled; it reads memory only, never the medium."""
        self._report = report
        while True:
            self._full_looks = FULL_LOOKS if self._full else max(0, self._full_looks - 1)
            self._look()
            await self._sleep(LOOK_EVERY_S)

    def mail_room(self, *, full: bool) -> None:
        """What the mail process says: whether it refuses new mail for want of room. That it does is told at once."""
        self._full = full
        if full:
            is_news = not self._full_looks
            self._full_looks = FULL_LOOKS
            if is_news:
                self._look()

    def _look(self) -> None:
        if self._report is None:
            return
        found = read_storage(self._data, self._root)
        if self._told is None or differs(self._told, found):
            self._report(found)
            self._told = found
        if (now := notes_of(found, full=self._full_looks > 0)) != self._notes:
            self._report(now)
            self._notes = now
            for note in now:
                log.warning("%s", note.text)


def read_storage(data: Path, root: Path, *, device: str | None = None) -> Storage:
    """Read what the kernel knows. `device` is the partition's "major:minor", asked of the file system if not given."""
    try:
        # The unit lets us write our own folder only: the rest looks read-only from here, whatever the card says.
        status = os.statvfs(data / "hw" if (data / "hw").is_dir() else data)
        device = device or _number_of(os.stat(data).st_dev)
    except OSError as error:
        log.error("%s: %s", data, error.strerror)
        return Storage(name="not there", read_only=True)
    partition = (root / "sys/dev/block" / device).resolve()
    disk = partition.parent if (partition / "partition").exists() else partition
    kind = kind_of(disk)
    return Storage(
        kind=kind,
        name=_name(disk, kind),
        size_bytes=status.f_blocks * status.f_frsize,
        free_bytes=status.f_bavail * status.f_frsize,
        read_only=bool(status.f_flag & os.ST_RDONLY),
        life_percent_used=life_percent_used(_text(disk / "device/life_time")) if kind == "emmc" else None,
        errors=_errors(root, partition, disk),
        written_bytes=written_bytes(_text(disk / "stat")),
    )


def kind_of(disk: Path) -> Kind:
    """What the disk of that sysfs folder is."""
    if disk.name.startswith("mmcblk"):
        return "emmc" if _text(disk / "device/type") == "MMC" else "sd"
    if disk.name.startswith("nvme"):
        return "nvme"
    return "usb" if any(part.startswith("usb") for part in disk.parts) else "other"


def life_percent_used(text: str) -> int | None:
    """The worse of eMMC's two estimates, in percent: `0x01 0x02` means up to 10 and up to 20. None: it does not say."""
    try:
        steps = max(int(word, 16) for word in text.split())
    except ValueError:
        return None
    return min(steps, 11) * 10 if steps else None


def written_bytes(stat: str) -> int:
    """Octets written since the start, from /sys/block/*/stat."""
    fields = stat.split()
    return int(fields[_WRITTEN_SECTORS]) * SECTOR if len(fields) > _WRITTEN_SECTORS else 0


def differs(before: Storage, after: Storage) -> bool:
    """Whether the difference is worth telling to everybody: more than a few messages' worth."""
    return (
        _facts(before) != _facts(after)
        or abs(before.free_bytes - after.free_bytes) >= _STEP
        or after.written_bytes - before.written_bytes >= _STEP
    )


def notes_of(storage: Storage, *, full: bool = False) -> tuple[Note, ...]:
    """What a person should do about it. `full`: the mail process takes no new mail for want of room. Pure."""
    found: list[tuple[Level, str]] = []
    what = f"{WORDS[storage.kind]}{f' {storage.name}' if storage.name else ''}"
    if storage.read_only:
        text = f"The {what} cannot be written any more; no mail is taken. Replace it, restore a backup."
        found.append(("error", text))
    if storage.errors:
        text = f"The file system on the {what} has counted {storage.errors} error(s). Make a backup, then replace it."
        found.append(("error", text))
    if (storage.life_percent_used or 0) >= WORN_PERCENT:
        text = f"The {what} has used {storage.life_percent_used} % of its life. Make a backup, then replace it."
        found.append(("warning", text))
    free = storage.free_bytes / storage.size_bytes if storage.size_bytes else 1.0
    if full and not storage.read_only:
        size = f"{storage.size_bytes >> 20} MiB"
        text = f"The data partition of {size} is full: new mail is refused. Delete mail, or use a larger medium."
        found.append(("error", text))
    elif free < LITTLE_FREE and not storage.read_only:
        # The words stay the same while space runs out, so that nobody tells them anew for each message.
        share = NO_FREE if free < NO_FREE else LITTLE_FREE
        text = f"Less than {share:.0%} of {storage.size_bytes >> 20} MiB are free. Delete mail, or use a larger medium."
        found.append(("error" if free < NO_FREE else "warning", text))
    return tuple(Note(source="storage", level=level, text=text) for level, text in found)


WORDS: dict[Kind, str] = {"sd": "SD card", "emmc": "eMMC", "nvme": "NVMe disk", "usb": "USB disk", "other": "disk"}


def _facts(storage: Storage) -> tuple[object, ...]:
    what = (storage.kind, storage.name, storage.size_bytes)
    return (*what, storage.read_only, storage.life_percent_used, storage.errors)


def _name(disk: Path, kind: Kind) -> str:
    """What is printed on the medium, as far as it says: model, or name, maker's number and date of a card."""
    if kind in {"sd", "emmc"}:
        name, oem, date = (_text(disk / "device" / word) for word in ("name", "oemid", "date"))
        return " ".join(part for part in (name, f"oem {oem}" if oem else "", f"of {date}" if date else "") if part)
    words = (_text(disk / "device/vendor"), _text(disk / "device/model"))
    return " ".join(word for word in words if word and not word.startswith("0x"))  # virtio has numbers there


def _errors(root: Path, partition: Path, disk: Path) -> int:
    """What ext4 has written down, over all starts, and what a SCSI or USB disk has failed at since this one."""
    count = _text(root / "sys/fs/ext4" / partition.name / "errors_count")
    failed = _text(disk / "device/ioerr_cnt")
    timeouts = _text(disk / "device/iotmo_cnt")
    return _count(count, 10) + _count(failed, 16) + _count(timeouts, 16)


def _count(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        return 0


def _number_of(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
