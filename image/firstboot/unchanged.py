"""What a start compares first: while that is as the start before left it, mail and network do not wait for Python.

The initramfs asks `rootfs/usr/lib/palomar-boot/unchanged`, which reads it by sha256sum.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from image.firstboot import cardcheck
from image.firstboot.durable import Disk
from image.firstboot.places import CONFIG_NAME, PRESEED_NAME, Places
from image.firstboot.taken import TAKEN

UNCHANGED = "unchanged"


def keep(places: Places, disk: Disk) -> None:
    """Write down what this start found and left in order. Raises OSError."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n" for path in _watched(places)]
    disk.write(places.state / UNCHANGED, "".join(lines).encode(), 0o644)


def forget(places: Places, disk: Disk) -> None:
    """Let the next start look at everything. Raises OSError."""
    disk.remove(places.state / UNCHANGED)


def _watched(places: Places) -> list[Path]:
    """What people write, what this start made of it, the release that did, and the card's size."""
    on_card = [path for name in (CONFIG_NAME, PRESEED_NAME) if (path := places.boot / name).exists()]
    made = [places.config / CONFIG_NAME, places.state / TAKEN]
    made += [places.identity / name for name in ("machine-id", "name", "setup-code")]
    room = cardcheck.room_behind(places.data, places.sysfs, places.dev)
    size = [places.sysfs / "class/block" / room.device.name / "size"] if room is not None else []
    return [*on_card, *made, places.release, *size]
