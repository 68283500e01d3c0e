"""A card after a cut, examined outside QEMU: its file systems by their own checkers, its mail by our own server.

It is what the next start would do, in seconds instead of a minute: `e2fsck -p` as in the initramfs (it replays the
journal), then Palomar on the data folder, then everything read by IMAP.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from image.build.toolroot import ToolRoot
from image.qemu import BUILT, TOOLS
from tests.e2e.appliance_process import Appliance
from tests.image.guest.card import MTOOLS, SECTOR, Card, place
from tests.image.guest.mailload import ACCOUNT, found_in_inbox

BOOT, SLOTS, DATA = 1, (2, 3), 4  # partitions
CARD_SIZE = 4 << 30
CHECK_S = 120.0
_FAT32_STATE = 65  # byte of its first sector; bit 0: writable when it was cut
_HARMLESS = (
    "There are differences between boot sector and its backup",
    "This is mostly harmless",
    "Dirty bit is set",
    "Free cluster summary wrong",  # a hint that Linux does not trust either
    "*** Filesystem was changed",
    "Leaving filesystem unchanged",
    "Writing changes.",
)
_REPAIRED = 4  # e2fsck's codes from here on: `-p` did not bring it up


class MailServer(Appliance):
    """Palomar with the account's domain, on a data folder from a card."""

    def write_config(self) -> None:
        """As the appliance does, for the load's domain."""
        super().write_config()
        text = self.config.read_text()
        self.config.write_text(re.sub(r"(?m)^domains = .*$", f'domains = ["{ACCOUNT.partition("@")[2]}"]', text))


class Crashed:
    """The partitions of a card as a cut left them, in `folder`. Each method asserts that nobody's help is needed."""

    def __init__(self, image: Path, folder: Path) -> None:
        """Copy them out of `image`, which may go on changing afterwards."""
        with image.open("rb") as file:
            self._table = file.read(SECTOR)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self.boot, self.data = folder / "boot.img", folder / "data.img"
        self._tools = ToolRoot(TOOLS)
        for number, target in ((BOOT, self.boot), (DATA, self.data)):
            start, size = place(image, number)
            with target.open("wb") as file:
                file.truncate(size)
            _copy(image, start, size, target, 0)

    def mail(self) -> Counter[int]:
        """The numbers of the messages that are there, by a start of Palomar on them."""
        self.check_data()
        taken, server = self.take_out(), self.folder / "server"
        server.mkdir()
        for name, there in (("mail", "data"), ("identity", "identity")):
            (taken / name).rename(server / there)
        with MailServer(server) as running:
            return found_in_inbox(running.ports["imaps"])

    def check_data(self) -> None:
        """The data partition comes up as at a start, and is whole then."""
        code, said = self._run("e2fsck", "-p", self.data)
        assert code < _REPAIRED, f"e2fsck -p cannot bring the data partition up ({code}):\n{said}"
        code, said = self._run("e2fsck", "-f", "-n", self.data)
        assert code == 0, f"the data partition is damaged after its journal was replayed ({code}):\n{said}"

    def take_out(self) -> Path:
        """Copy the files of the data partition, which must have been checked, into a folder."""
        target = self.folder / "data"
        target.mkdir()
        code, said = self._run("debugfs", "-R", f"rdump / {target}", self.data)
        assert code == 0, f"the data partition cannot be read: {said}"
        assert (target / "lost+found").is_dir(), f"the data partition cannot be read: {said}"
        return target

    def check_boot(self) -> str:
        """The boot partition as a start finds it, repaired where it has the mark of one that was cut; what was told.

        One without the mark must be whole.
        """
        said = "not marked"
        with self.boot.open("rb") as file:
            file.seek(_FAT32_STATE)
            marked = file.read(1)[0] & 1
        if marked:
            _, words = self._run("fsck.vfat", "-a", self.boot)
            said = "; ".join(["marked", *_findings(words)])
        _, left = self._run("fsck.vfat", "-n", self.boot)
        assert not _findings(left), f"the boot partition is damaged ({said}): {left}"
        return said

    def take_out_boot(self) -> Path:
        """Copy the files of the boot partition into a folder."""
        target = self.folder / "boot"
        target.mkdir()
        self._tools.run("mcopy", "-s", "-n", "-i", self.boot, "::*", target, env=MTOOLS)
        return target

    def card(self, path: Path) -> Card:
        """A card with these partitions as they are now; the slots are the built image's."""
        built = next((BUILT / "whole").glob("palomar-*.img"))
        draft = path.with_suffix(".draft")
        draft.write_bytes(self._table)
        starts = {BOOT: (self.boot, 0), DATA: (self.data, 0)}
        with draft.open("r+b") as file:
            file.truncate(max(sum(place(draft, DATA)), CARD_SIZE))
        for number in (BOOT, *SLOTS, DATA):
            start, size = place(draft, number)
            source, at = starts.get(number, (built, start))
            _copy(source, at, size, draft, start)
        card = Card(path, source=draft)
        draft.unlink()
        return card

    def _run(self, program: str, *arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            self._tools.command(program, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_S,
            check=False,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")


def _findings(said: str) -> list[str]:
    """What fsck.vfat found, between its own name and its summary."""
    return [line for line in said.splitlines()[1:-1] if line and not line.startswith((" ", *_HARMLESS))]


def _copy(image: Path, start: int, size: int, target: Path, to: int) -> None:
    """Copy a range of a file into another, whose room there is empty, without its holes."""
    with image.open("rb") as source, target.open("r+b") as file:
        at = start
        while True:
            try:
                at = os.lseek(source.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return
            if at >= start + size:
                return
            end = min(os.lseek(source.fileno(), at, os.SEEK_HOLE), start + size)
            while at < end:
                data = os.pread(source.fileno(), min(end - at, 1 << 20), at)
                os.pwrite(file.fileno(), data, to + at - start)
                at += len(data)
