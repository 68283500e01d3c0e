"""Room on the disk: a reserve that new mail may not touch, so that removing mail always works."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from appliance.errors import StoreFullError

RESERVE_BYTES = 32 << 20
MARGIN = 1 << 20  # octets that stay free beside the reserve, for logs and the file system's own needs
LEAST = 512 << 10  # octets without which SQLite cannot even open its files: another program has filled the disk
WRITTEN_PER_OCTET = 3  # what one octet of mail may take before a checkpoint: log, database, pages half filled
SPARE = 4 * MARGIN  # octets beside the reserve below which nothing but mail may grow

log = logging.getLogger(__name__)


class Space:
    """Keeps the reserve file, and says whether new mail still has room. Any thread."""

    def __init__(self, folder: Path, reserve_bytes: int = RESERVE_BYTES, *, free: Callable[[], int] | None = None):
        self._path = folder / "reserve"
        self._bytes = reserve_bytes
        self._free = free or (lambda: _free_bytes(folder))
        self._lock = threading.Lock()
        self._held = self._path.exists() and self._path.stat().st_blocks * 512 >= reserve_bytes
        self._refused: int | None = None  # octets of what was refused last; None: there was room
        self._removed = False  # something, while mail was refused
        self.housekeeping = threading.Event()  # set when housekeeping should look at once
        if self._free() < LEAST:
            self.release()
        with self._lock:
            self._judge(0)

    @property
    def has_reserve(self) -> bool:
        """Whether the reserve is there, or none is wanted; else there is room for removals only."""
        return self._held or not self._bytes

    @property
    def refusing(self) -> bool:
        """Whether there was no room for the last message that asked, and still is none for one of that size.

        Also when removals needed the reserve: mail is not taken before that is there again.
        """
        return self._refused is not None

    def spares(self, octets: int = 0) -> bool:
        """Whether what mail does not need may take `octets`: it must not take what the next mail would have."""
        return self.has_reserve and self._free() >= SPARE + octets

    def removed(self) -> None:
        """Mail was removed. If room is short, housekeeping makes room of that at once."""
        if self.refusing:
            self._removed = True
            self.housekeeping.set()

    def take_removed(self) -> bool:
        """Whether mail was removed since this was asked last."""
        removed, self._removed = self._removed, False
        return removed

    def look(self) -> None:
        """See whether what was refused last would fit by now, so that `refusing` ends without another message."""
        with self._lock:
            if self._refused is not None:
                self._judge(self._refused)

    def fits(self, octets: int, owed: int = 0) -> bool:
        """Whether `octets` of new mail fit beside `owed`, which the log will still take when it is carried over."""
        return self._free() >= MARGIN + WRITTEN_PER_OCTET * octets + owed

    def admit(self, octets: int, owed: int = 0) -> None:
        """Raise StoreFullError unless `octets` of new mail and `owed` fit without touching the reserve."""
        with self._lock:
            if not self._judge(octets, owed):
                raise StoreFullError("the disk is full: new mail is not taken until there is room again")

    def release(self) -> bool:
        """Give the reserve to whoever removes mail now. False if that was done already."""
        with self._lock:
            if not self._held:
                return False
            self._held = False
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
            log.warning("the disk is full: the reserve of %d octets is given to removals", self._bytes)
            self._refuse(self._refused or 0)
            return True

    def _judge(self, octets: int, owed: int = 0) -> bool:
        """Whether so much new mail fits; remembered, and logged when that is another answer than before."""
        fits = self._restore(octets) and self.fits(octets, owed)
        if fits and self._refused is not None:
            log.info("there is room for new mail again")
        elif not fits and self._refused is None:
            log.error("no room for new mail: %d octets are free", self._free())
        if fits:
            self._refused = None
        else:
            self._refuse(octets)
        return fits

    def _refuse(self, octets: int) -> None:
        if self._refused is None:
            self.housekeeping.set()
        self._refused = octets

    def _restore(self, octets: int) -> bool:
        """Take the reserve (back) when there is room for it and for what comes."""
        if self._held or not self._bytes:
            return True
        if self._free() < self._bytes + 2 * MARGIN + WRITTEN_PER_OCTET * octets:
            return False
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._bytes)
            finally:
                os.close(fd)
        except OSError as error:
            log.warning("the reserve cannot be taken: %s", error)
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
            return False
        self._held = True
        return True


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
