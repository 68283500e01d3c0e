"""A card in a folder, and an appliance that starts from it: no root, no devices."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from image.firstboot.boot import firstboot
from image.firstboot.durable import Disk
from image.firstboot.places import CONFIG_NAME, PRESEED_NAME, STATUS_NAME, TEMPLATE, Places
from image.firstboot.status import Report


class PowerCutError(BaseException):
    """The power is gone. Nothing in our code catches it."""


class CutDisk(Disk):
    """Lets the power go after so many operations."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.operations: list[str] = []

    def done(self, operation: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError(operation)
        self.operations.append(operation)


@dataclass
class Card:
    """A card and what the board does with it."""

    places: Places
    told: list[str] = field(default_factory=list)

    def boot(self, disk: Disk | None = None, random: Callable[[int, int], bytes] = os.getrandom) -> Report:
        """One start. What was in memory before is gone."""
        return firstboot(self.places, disk or Disk(), random=random, tell=self.told.append)

    def put(self, text: str | bytes, name: str = CONFIG_NAME) -> None:
        """Write a file on the card, as its owner does at a computer."""
        (self.places.boot / name).write_bytes(text.encode() if isinstance(text, str) else text)

    def put_preseed(self, text: str) -> None:
        """Write what the Imager writes."""
        self.put(text, PRESEED_NAME)

    def read(self, name: str = CONFIG_NAME) -> str:
        """A file of the card."""
        return (self.places.boot / name).read_text()

    @property
    def status(self) -> str:
        return self.read(STATUS_NAME)

    @property
    def effective(self) -> str:
        """The configuration in force."""
        return (self.places.config / CONFIG_NAME).read_text()

    def snapshot(self) -> dict[str, tuple[bytes, int]]:
        """Every file of the card: octets and time of the last change."""
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in self.places.boot.iterdir()}


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """Freshly written."""
    folders = {name: tmp_path / name for name in ("boot", "data", "run", "etc", "sysfs", "dev", "zoneinfo", "locales")}
    for folder in folders.values():
        folder.mkdir()
    (folders["zoneinfo"] / "Europe").mkdir()
    for zone in ("UTC", "Europe/Madrid"):
        (folders["zoneinfo"] / zone).write_text("TZif")
    release = tmp_path / "release.json"
    release.write_text('{"version": "1.2.3"}')
    (folders["boot"] / "config.txt").write_text("kernel=u-boot.bin\n")
    (folders["boot"] / CONFIG_NAME).write_bytes(TEMPLATE.read_bytes())
    return Card(dataclasses.replace(Places(), **folders, release=release, user=None, led=("true",)))
