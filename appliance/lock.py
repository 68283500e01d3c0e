"""One process at a time works on a data folder: an advisory lock that ends with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from appliance.errors import ApplianceError

LOCK_NAME = "lock"


class FolderBusyError(ApplianceError):
    """Another process works on the data folder. `pid` is that process, 0 if it did not say."""

    remedy = "Use the appliance that runs there, or stop it first."

    def __init__(self, folder: Path, pid: int) -> None:
        super().__init__(f"{folder} is in use by another process{f' (pid {pid})' if pid else ''}")
        self.pid = pid


class FolderLock:
    """Exclusive use of a data folder, until `release` or until the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> FolderLock:
        """Lock the folder, which is made (mode 0700) if it is not there. Raises FolderBusyError, OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(OSError):  # on a full disk: the lock holds, others are not told who has it
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).strip()
            os.close(descriptor)
            raise FolderBusyError(folder, int(pid) if pid.isdigit() else 0) from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let others in. Harmless when done twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # an empty file only costs the next one the pid in its message
                os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
