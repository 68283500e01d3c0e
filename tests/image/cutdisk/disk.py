"""Start and cut the disk that loses unflushed writes. See README.md beside this file."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType

SOURCE = Path(__file__).with_name("cutdisk.c")
START_SECONDS = 20.0
NEEDED = "apt-get install nbdkit nbdkit-plugin-dev gcc libc6-dev"


def missing() -> str:
    """What this machine lacks for the disk, in words; empty if nothing."""
    lacking = [name for name in ("nbdkit", "gcc") if shutil.which(name) is None]
    if not Path("/usr/include/nbdkit-plugin.h").exists():
        lacking.append("nbdkit-plugin.h")
    return f"{', '.join(lacking)} is missing: {NEEDED}" if lacking else ""


def build(folder: Path) -> Path:
    """Compile the plugin into `folder` and return its path."""
    if words := missing():
        raise RuntimeError(words)
    plugin = folder / "nbdkit-cutdisk-plugin.so"
    command = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(plugin), str(SOURCE)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"cutdisk.c does not compile ({NEEDED}?):\n{built.stderr}")
    return plugin


@dataclass(slots=True)
class Tally:
    """What one span with power wrote, and what its end took."""

    writes: int = 0
    bytes: int = 0
    flushes: int = 0
    fua: int = 0  # writes that carried their own flush
    overflows: int = 0  # how often the cache was full and wrote back by itself
    held: int = 0  # writes that no flush had covered when power went …
    whole: int = 0  # … of these: kept,
    torn: int = 0  # kept in part,
    dropped: int = 0  # gone
    lost_bytes: int = 0

    def add(self, other: Tally) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class CutDisk:
    """The disk in `image`, with power from `start` (or `with`) to `cut`. Each span needs its own CutDisk.

    Kill whoever uses the disk before `cut`: what it sends after that never arrives.
    """

    def __init__(
        self,
        plugin: Path,
        image: Path,
        *,
        seed: int,
        socket: Path | None = None,
        flush_us: int = 2000,
        cache: str = "64M",
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cutdisk-"))  # short: a socket's path has 107 octets at most
        self.socket = socket or self._folder / "socket"
        self._report = self._folder / "report"
        self._log = self._folder / "log"
        self._command = [
            *("nbdkit", "--foreground", "--exit-with-parent", "--unix", str(self.socket)),
            *("--pidfile", str(self._folder / "pid"), str(plugin), f"file={image}", f"seed={seed}"),
            *(f"flush_us={flush_us}", f"cache={cache}", f"report={self._report}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where QEMU finds it."""
        return f"nbd+unix:///?socket={self.socket}"

    def start(self) -> None:
        """Power on."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not (self._folder / "pid").exists():  # nbdkit writes it when it listens
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
            if self._process.returncode is not None or time.monotonic() > end:
                words = self._said()
                self.close()
                raise RuntimeError(f"nbdkit did not start: {words}")

    def cut(self) -> Tally:
        """Power off: lose what is lost, and say what it was."""
        assert self._process is not None, "it has no power"
        self._process.terminate()
        code = self._process.wait(60)
        try:
            if code or not self._report.exists():
                raise RuntimeError(f"nbdkit ended with {code}: {self._said()}")
            return Tally(**json.loads(self._report.read_text()))
        finally:
            self._process = None
            self.close()

    def _said(self) -> str:
        return self._log.read_text(errors="replace").strip() if self._log.exists() else "nothing"

    def close(self) -> None:
        """End it without a report."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self.socket.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> CutDisk:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
