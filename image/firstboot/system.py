"""The programs and kernel doors that first boot needs; tests hand in their own."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import appliance
from appliance.errors import ApplianceError
from image.firstboot.places import Places

COMMAND_S = 180.0  # for one `palomar` command; an emulated board takes seconds to start Python


class CommandError(ApplianceError):
    """A program could not be run, or failed. The text is its last line."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The line that says why it failed."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return lines[0] if lines else f"it ended with code {self.code}"


def owner(places: Places) -> tuple[int, int] | None:
    """User and group of the mail process; None where everything belongs to whoever runs this."""
    if places.user is None or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(places.user)
    except KeyError:
        raise CommandError(f"there is no user {places.user!r}") from None
    return entry.pw_uid, entry.pw_gid


def run_palomar(places: Places, *arguments: str, stdin: str = "") -> Done:
    """Run one `palomar` command as the mail user, with the configuration in force. Raises CommandError."""
    return run_as_mail(places, (*places.palomar, *arguments), stdin=stdin)


def run_as_mail(places: Places, command: Sequence[str], *, stdin: str = "") -> Done:
    """Run a program as the mail user. Raises CommandError if it cannot be run."""
    whose = owner(places)
    # Children find our packages where we found them: the image keeps them outside of Python's own path.
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "PYTHONPATH": str(Path(appliance.__file__).resolve().parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env=environment,
            cwd="/",
            umask=0o077,
            user=whose[0] if whose else None,
            group=whose[1] if whose else None,
            extra_groups=[] if whose else None,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{command[0]}: {error}") from error
    return Done(done.returncode, done.stdout, done.stderr)


def tell_consoles(places: Places, text: str) -> None:
    """Write to every console that the kernel uses: the screen and the serial line. Whoever looks, looks there."""
    try:
        active = (places.sysfs / "class/tty/console/active").read_text().split()
    except OSError:
        return
    for name in active:
        with contextlib.suppress(OSError):  # a console without a screen: nobody looks
            descriptor = os.open(places.dev / name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                os.write(descriptor, text.replace("\n", "\r\n").encode())
            finally:
                os.close(descriptor)


def show_led(places: Places, pattern: str) -> None:
    """Set the LED's pattern, where there is one. The network process takes it over later."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run((*places.led, pattern), capture_output=True, timeout=COMMAND_S, check=False)


def read_json(path: Path) -> dict[str, Any]:
    """A file of ours, {} where it is not there or damaged: it is made anew then."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
