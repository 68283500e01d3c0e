"""The way into a guest, which is its owner's: `admin`, by SSH with a key that stands in palomar.toml."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from image.qemu import MAIL_PORTS, Guest, GuestError

PORTS = {**MAIL_PORTS, "ssh": 22}
"""For `image.qemu.Setup`."""
_LOGIN_S = 90  # an emulated board takes seconds to start sshd, and to agree on a key


class Admin:
    """The owner of an SSH key."""

    def __init__(self, folder: Path) -> None:
        """Make the key in `folder`."""
        self._key = folder / "admin"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", self._key], check=True)
        self.public = self._key.with_suffix(".pub").read_text().strip()

    def run(self, guest: Guest, script: str, timeout_s: float = 120.0) -> str:
        """Run a shell script as root in the guest, and return what it printed. Raises GuestError if it fails."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(_LOGIN_S),
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        command = ["ssh", "-F", "none", "-i", str(self._key), "-p", str(guest.ports["ssh"]), "-l", "admin"]
        command += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        command += ["127.0.0.1", "doas", "/bin/sh", "-eu"]
        patience = time.monotonic() + _LOGIN_S
        try:
            while True:
                done = subprocess.run(
                    command, input=script, capture_output=True, text=True, timeout=timeout_s + _LOGIN_S, check=False
                )
                if not _not_there_yet(done) or time.monotonic() > patience:
                    break
        except subprocess.TimeoutExpired:
            raise GuestError(f"no end within {timeout_s:g} s of: {script}") from None
        if done.returncode:
            raise GuestError(f"code {done.returncode} of: {script}\n{done.stderr.strip()}")
        return done.stdout


def _not_there_yet(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether QEMU answered for a port on which nobody listens yet: mail may be up before SSH is."""
    return done.returncode == 255 and "kex_exchange_identification" in done.stderr
