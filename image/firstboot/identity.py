"""What makes this machine itself: machine-id, name, setup code, certificate, SSH host key.

Made once, after the kernel's random pool is ready, and only what is missing: a cut at any point is made up for at the
next start. Nothing of it is in the image.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from image.firstboot.durable import Disk
from image.firstboot.places import Places
from image.firstboot.system import CommandError, owner, run_as_mail

RandomSource = Callable[[int, int], bytes]
"""`os.getrandom`: octets, flags."""

_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no two that look alike
SETUP_CODE_LETTERS = 12  # of 30 kinds: 58 bits
KEYGEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What others may know of it."""

    machine_id: str
    name: str  # palomar-1a2b
    setup_code: str


def ensure(places: Places, disk: Disk, tell: Callable[[str], None], *, random: RandomSource = os.getrandom) -> Identity:
    """Read the identity, making what is missing. Raises OSError when the data partition cannot be written."""
    mail_user = owner(places)
    folder = places.identity
    disk.folder(folder, 0o755)
    disk.folder(folder / "tls", 0o700, mail_user)
    disk.folder(folder / "ssh", 0o755)
    disk.folder(folder / "dkim", 0o700, mail_user)
    machine_id = _read(places, "machine-id", r"[0-9a-f]{32}")
    if not machine_id:
        _wait_for_randomness(random, tell)
        machine_id = uuid.UUID(bytes=random(16, 0), version=4).hex
        disk.write(folder / "machine-id", f"{machine_id}\n".encode(), 0o444)
    name = _read(places, "name", r"palomar-[0-9a-z]{4}")
    if not name:
        name = f"palomar-{_board_digits(places) or _digits(random)}"
        disk.write(folder / "name", f"{name}\n".encode(), 0o644)
    code = _read(places, "setup-code", rf"[{_LETTERS}-]{{14}}")
    if not code:
        code = _setup_code(random)
        group = (0, mail_user[1]) if mail_user else None
        disk.write(folder / "setup-code", f"{code}\n".encode(), 0o640, group)
    return Identity(machine_id, name, code)


def ensure_certificate(places: Places, hostname: str) -> None:
    """Make Palomar's self-signed certificate, so that its fingerprint is known before mail runs. Raises CommandError.

    The mail process makes it anew when its time comes, with the same key.
    """
    folder = places.identity / "tls"
    names = list(dict.fromkeys((hostname.lower(), "localhost", "127.0.0.1", "::1")))
    done = run_as_mail(places, (sys.executable, "-m", "appliance.selfsigned", str(folder), *names))
    if done.code:
        raise CommandError(f"cannot make a certificate: {done.last_words}")


def ensure_ssh(places: Places, disk: Disk, keys: tuple[str, ...]) -> None:
    """Let these keys in by SSH, with a host key of our own; without any the door stays shut.

    Raises CommandError, OSError.
    """
    folder = places.identity / "ssh"
    if not keys:
        disk.remove(folder / "authorized_keys")
        return
    host_key = folder / "ssh_host_ed25519_key"
    if not (host_key.exists() and host_key.with_suffix(".pub").exists()):
        draft = folder / "draft"
        for path in (draft, draft.with_suffix(".pub")):
            path.unlink(missing_ok=True)
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(draft))
        try:
            subprocess.run(command, capture_output=True, timeout=KEYGEN_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise CommandError(f"cannot make an SSH host key: {error}") from error
        disk.write(host_key.with_suffix(".pub"), draft.with_suffix(".pub").read_bytes(), 0o644)
        disk.write(host_key, draft.read_bytes(), 0o600)
        disk.remove(draft.with_suffix(".pub"))
        disk.remove(draft)
    disk.write(folder / "authorized_keys", ("\n".join(keys) + "\n").encode(), 0o644)


def _read(places: Places, name: str, form: str) -> str:
    """A file of the identity; empty where it is missing or damaged."""
    try:
        text = (places.identity / name).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if re.fullmatch(form, text) else ""


def _wait_for_randomness(random: RandomSource, tell: Callable[[str], None]) -> None:
    try:
        random(16, os.GRND_NONBLOCK)
    except BlockingIOError:
        tell("Waiting for the kernel to gather randomness; moving a mouse or pressing keys helps.")
        random(16, 0)


def _board_digits(places: Places) -> str:
    """Four digits that people find on the board or in their router: the end of its serial number or MAC address."""
    candidates = [places.sysfs / "firmware/devicetree/base/serial-number"]
    candidates += sorted((places.sysfs / "class/net").glob("e*/address"))
    for path in candidates:
        try:
            text = path.read_text().strip("\0\n ").replace(":", "").lower()
        except (OSError, UnicodeDecodeError):
            continue
        if re.fullmatch(r"[0-9a-f]{8,}", text) and text.strip("0"):
            return text[-4:]
    return ""


def _digits(random: RandomSource) -> str:
    return random(2, 0).hex()


def _setup_code(random: RandomSource) -> str:
    letters = ""
    while len(letters) < SETUP_CODE_LETTERS:
        octet = random(1, 0)[0]
        if octet < 240:  # 8 × 30: each letter as likely as the others
            letters += _LETTERS[octet % len(_LETTERS)]
    return "-".join(letters[start : start + 4] for start in range(0, SETUP_CODE_LETTERS, 4))
