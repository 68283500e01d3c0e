"""The FAT boot partition: mounted read-only, and writable only while something on it really changes.

FAT knows no journal. A file is written beside the old one, synced and renamed over it; a cut leaves one of the two,
or a leftover that the next start removes, after the initramfs has let fsck.vfat put names and room in order.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from appliance.errors import ApplianceError

DRAFT = ".NEW"
REMOUNT_S = 30.0
_SAVED = re.compile(r"(?i)FSCK[0-9]{4}\.REC")


class BootPartError(ApplianceError):
    """The boot partition cannot be read or written."""

    remedy = "Check the card in another computer (it may say 'repair'), or write the image anew."


class BootPartition:
    """Files in the top folder of the boot partition. `folder` may be a plain folder: then nothing is remounted.

    `done` is told after each operation that a power cut may divide from the next.
    """

    def __init__(self, folder: Path, done: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._done = done or (lambda _: None)

    def names(self) -> list[str]:
        """The names there are; none where the partition is not mounted. Raises BootPartError."""
        try:
            return sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BootPartError(f"cannot read {self._folder}: {error.strerror}") from error

    def find(self, name: str) -> str | None:
        """The name as it is spelled there; FAT does not tell upper from lower case."""
        return next((one for one in self.names() if one.lower() == name.lower()), None)

    def read(self, name: str, limit: int) -> bytes | None:
        """At most `limit` + 1 octets of a file, so that the caller sees one that is too long; None without the file.

        Raises BootPartError.
        """
        spelled = self.find(name)
        if spelled is None:
            return None
        try:
            with open(self._folder / spelled, "rb") as file:
                return file.read(limit + 1)
        except OSError as error:
            raise BootPartError(f"cannot read {spelled}: {error.strerror}") from error

    def write(self, name: str, data: bytes, *, wipe: bool = False) -> bool:
        """Give the file this content; nothing is written, and False returned, where it has it already.

        `wipe` overwrites the old content before its room is given back: it held secrets. Raises BootPartError.
        """
        name = self.find(name) or name
        path, draft = self._folder / name, self._folder / (name + DRAFT)
        if self.read(name, len(data)) == data:
            return False
        with self._writable(name), contextlib.ExitStack() as stack:
            old = stack.enter_context(self._kept(path, "r+b" if wipe else "rb"))
            with open(draft, "wb", buffering=0) as file:
                file.write(data)
                self._done(f"write {draft.name}")
                os.fsync(file.fileno())
                self._done(f"sync {draft.name}")
                os.replace(draft, path)
                self._sync()
                os.fsync(file.fileno())  # in Linux, where a name leads to is written with the file
            self._done(f"rename {name}")
            if wipe and old is not None:  # its room is still ours, as long as it is open
                _overwrite(old)
                self._done(f"wipe {name}")
        return True

    def remove(self, name: str, *, wipe: bool = False) -> None:
        """Remove a file, if it is there; with `wipe` its content is overwritten first. Raises BootPartError."""
        if (spelled := self.find(name)) is None:
            return
        path = self._folder / spelled
        with self._writable(spelled), self._kept(path, "r+b" if wipe else "rb") as old:
            if wipe and old is not None:
                _overwrite(old)
                self._done(f"wipe {spelled}")
            os.unlink(path)
            self._sync()
            self._done(f"remove {spelled}")

    def remove_leftovers(self) -> None:
        """Remove what a cut left of a write, and what fsck.vfat saved of it: secrets, maybe. Raises BootPartError."""
        for name in self.names():
            if name.endswith(DRAFT) or _SAVED.fullmatch(name):
                self.remove(name, wipe=True)

    @contextlib.contextmanager
    def _kept(self, path: Path, mode: str) -> Iterator[IO[bytes] | None]:
        """Hold a file open while its name goes, or None without it.

        FAT gives a file's room back when nobody has it open any more. If that came to the card before the name went
        (nothing orders the two), a cut would leave a name that leads into another file's room.
        """
        if not path.exists():
            yield None
            return
        with open(path, mode, buffering=0) as file:
            yield file

    @contextlib.contextmanager
    def _writable(self, name: str) -> Iterator[None]:
        """Hold the partition alone, and writable. Raises BootPartError for whatever goes wrong inside."""
        try:
            lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with self._remounted():
                    yield
            finally:
                os.close(lock)
        except OSError as error:
            raise BootPartError(f"cannot write {name}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _remounted(self) -> Iterator[None]:
        if not os.path.ismount(self._folder) or not os.statvfs(self._folder).f_flag & os.ST_RDONLY:
            yield
            return
        # Linux marks a FAT that is writable, and the next start checks one that has the mark. Nothing but a flush keeps
        # mark and changes in order: it has to be on the card before them, and they before it goes.
        self._mount("remount,rw")
        try:
            self._sync()
            try:
                yield
            finally:
                self._sync()
        finally:
            self._mount("remount,ro")

    def _mount(self, options: str) -> None:
        command = ("mount", "-o", options, str(self._folder))
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=REMOUNT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise BootPartError(f"{' '.join(command)} does not come to an end") from error
        if done.returncode:
            raise BootPartError(f"cannot {options.partition(',')[0]} {self._folder}: {done.stderr.strip()}")

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _overwrite(file: IO[bytes]) -> None:
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    file.write(b"\0" * size)
    os.fsync(file.fileno())
