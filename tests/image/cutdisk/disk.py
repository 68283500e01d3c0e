"""Start and cut the disk that loses unflushed writes. See README.md beside this file."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.image.cutdisk.panel import Loss, Moment, Panel

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


@dataclass(frozen=True, slots=True)
class Tally:
    """What one span with power wrote, and what its end took."""

    writes: int
    bytes: int
    flushes: int
    fua: int  # writes that carried their own flush
    overflows: int  # how often the cache was full and wrote back by itself
    lies: int  # flushes and FUA writes that were answered and not done
    loss: Loss


class CutDisk:
    """The disk in `image`, with power from `start` (or `with`) to `cut`. Each span needs its own CutDisk.

    Kill whoever uses the disk before `cut`: what it sends after that never arrives.
    """

    def __init__(self, plugin: Path, image: Path, *, seed: int, flush_us: int = 2000, cache: str = "64M") -> None:
        """`flush_us`: how long a flush takes, in microseconds; `cache`: what it holds back at most."""
        self.image = image
        self._folder = Path(tempfile.mkdtemp(prefix="cutdisk-"))  # short: a socket's path has 107 octets at most
        self.socket = self._folder / "socket"
        self._report = self._folder / "report"
        self._log = self._folder / "log"
        self._copy = image.with_name(image.name + ".cut")
        self._panel = Panel(self._folder / "panel")
        self._command = [
            *("nbdkit", "--foreground", "--exit-with-parent", "--unix", str(self.socket)),
            *("--pidfile", str(self._folder / "pid"), str(plugin), f"file={image}", f"seed={seed}"),
            *(f"report={self._report}", f"panel={self._folder / 'panel'}", f"copy={self._copy}"),
            *(f"flush_us={flush_us}", f"cache={cache}"),
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
        if not self._wait(lambda: (self._folder / "pid").exists(), START_SECONDS):  # written when it listens
            words = self._said()
            self.close()
            raise RuntimeError(f"nbdkit did not start: {words}")

    # ── the moment ────────────────────────────────────────────────────────────────────────────────────────────────

    def order(self, moment: Moment) -> None:
        """Let the disk stand still in that moment, counted from now."""
        self._panel.order(moment)

    def stands_still(self, timeout_s: float) -> bool:
        """Wait for the moment that was ordered; False if it has not come by then, and may come still."""
        return self._wait(lambda: self._panel.is_still, timeout_s)

    def lost_copy(self) -> tuple[Path, Loss]:
        """While it stands still: the image as a cut would leave it now, and what that took. For the next, it goes."""
        assert self._panel.is_still, "the disk does not stand still"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.image, self._copy], check=True)
        self._panel.want_loss()
        if not self._wait(lambda: self._panel.has_lost, START_SECONDS):
            raise RuntimeError(f"the disk made no loss on its copy: {self._said()}")
        return self._copy, self._panel.loss

    def release(self) -> None:
        """Let it go on after the moment, as if nothing had happened."""
        self._panel.release()

    def lie(self, every: int = 1, *, loses_all: bool = False) -> None:
        """Make it a card that lies, from now on: every so-manieth flush is answered and not done."""
        self._panel.lie(every, loses_all=loses_all)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def cut(self) -> Tally:
        """Power off: lose what is lost, and say what it was."""
        assert self._process is not None, "it has no power"
        self._process.terminate()
        code = self._process.wait(60)
        try:
            if code or not self._report.exists():
                raise RuntimeError(f"nbdkit ended with {code}: {self._said()}")
            numbers = json.loads(self._report.read_text())
            loss = Loss(*(numbers.pop(name) for name in ("held", "whole", "torn", "dropped", "lost_bytes")))
            return Tally(**numbers, loss=loss)
        finally:
            self._process = None
            self.close()

    def close(self) -> None:
        """End it without a report."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._panel.close()
        self._copy.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it becomes true in time, and before nbdkit ends."""
        assert self._process is not None, "it has no power"
        end = time.monotonic() + seconds
        while not condition():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
            if self._process.returncode is not None or time.monotonic() > end:
                return False
        return True

    def _said(self) -> str:
        return self._log.read_text(errors="replace").strip() if self._log.exists() else "nothing"

    def __enter__(self) -> CutDisk:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
