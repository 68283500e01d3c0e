"""Where everything lies. All roots are arguments, so that tests and the image use the same code."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

CONFIG_NAME = "palomar.toml"
PRESEED_NAME = "rpi-preseed.toml"
STATUS_NAME = "PALOMAR-STATUS.txt"
MAX_FILE = 64 * 1024
"""Octets of a first-boot file; a long one is a tenth of that."""
TEMPLATE = Path(__file__).with_name(CONFIG_NAME)


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """The folders of a running system. `palomar` is how its command is called; `user` owns the mail, if anybody else.

    Without `user` everything belongs to whoever runs this.
    """

    boot: Path = Path("/boot/palomar")
    data: Path = Path("/data")
    run: Path = Path("/run")
    etc: Path = Path("/etc")
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    zoneinfo: Path = Path("/usr/share/zoneinfo")
    locales: Path = Path("/usr/lib/locale")
    release: Path = Path("/usr/lib/palomar-release.json")
    palomar: tuple[str, ...] = (sys.executable, "-m", "appliance")
    user: str | None = "palomar"
    led: tuple[str, ...] = field(default=("palomar-hw", "led"))

    @property
    def identity(self) -> Path:
        """What makes this machine itself; a plain reset keeps it."""
        return self.data / "identity"

    @property
    def config(self) -> Path:
        """The configuration in force."""
        return self.data / "config"

    @property
    def mail(self) -> Path:
        """Palomar's data folder."""
        return self.data / "mail"

    @property
    def state(self) -> Path:
        """What first boot knows of itself."""
        return self.data / "state"

    @property
    def runtime(self) -> Path:
        """What is true until the next start."""
        return self.run / "palomar"
