"""Others do not notice: clients that behave, all the time, and the memory of the process beside them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.appliance_process import ACCOUNTS, Appliance
from tests.faults.peer import Peer, imap, pop3, smtp

NOTICE_S = 1.0  # within which the clients that behave are answered, beside what other programs take of the machine
ROUND_S = 0.04  # between their rounds
SOURCE = "127.7.7.7"  # they come from an address of their own: the limits per peer are the abusers'
RENEW = 30  # rounds of one SMTP connection, which may not idle with it for ever


def pss(pid: int) -> int:
    """The memory of a process in octets, its share of what is shared included."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss in smaps_rollup")


def kept_waiting(pid: int) -> float:
    """Seconds that a process was ready to run and a processor was not free for it (its first thread)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


class Watch:
    """A thread that keeps asking, and notes the slowest answer, the largest memory, and what went wrong."""

    def __init__(self, appliance: Appliance) -> None:
        assert appliance.process is not None
        self.pid = appliance.process.pid
        self._appliance = appliance
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.rounds = 0
        self.slowest = 0.0
        self.asked = ""  # what was slowest
        self.most = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)

    def reset(self) -> int:
        """Forget what was noted; returns the memory now."""
        with self._lock:
            self.rounds, self.slowest, self.failures = 0, 0.0, []
            self.most = pss(self.pid)
            return self.most

    def _run(self) -> None:
        try:
            reader = imap(self._appliance, ACCOUNTS[1], source=SOURCE)
            fetcher = pop3(self._appliance, ACCOUNTS[1], source=SOURCE)
            with reader, fetcher:
                while not self._stopping.is_set():
                    self._some_rounds(reader, fetcher)
        except Exception as error:
            self.failures.append(f"the clients that behave: {error!r}")

    def _some_rounds(self, reader: Peer, fetcher: Peer) -> None:
        with self._timed("a connection and EHLO"):
            sender = smtp(self._appliance, source=SOURCE)
        with sender:
            for _ in range(RENEW):
                with self._timed("SMTP NOOP"):
                    assert sender.say("NOOP").startswith(b"250 ")
                with self._timed("IMAP STATUS"):
                    assert b"c OK" in reader.command("STATUS INBOX (MESSAGES)")
                with self._timed("POP3 NOOP"):
                    fetcher.send(b"NOOP\r\n")
                    assert fetcher.line().startswith(b"+OK")
                with self._lock:
                    self.rounds += 1
                    self.most = max(self.most, pss(self.pid))
                if self._stopping.wait(ROUND_S):
                    return

    def _waited(self) -> float:
        """What others on this machine take is not the appliance's fault, nor is what this thread waits for."""
        own = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
        return own + kept_waiting(self.pid)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        waited, started = self._waited(), time.monotonic()
        yield
        seconds = time.monotonic() - started - (self._waited() - waited)
        with self._lock:
            if seconds > self.slowest:
                self.slowest, self.asked = seconds, what

    @contextmanager
    def undisturbed(self, growth_mib: int) -> Iterator[None]:
        """While in here, everybody is answered within NOTICE_S and memory grows by `growth_mib` at most."""
        before = self.reset()
        yield
        after_one_round(self)
        assert not self.failures, self.failures
        assert self._thread.is_alive(), "the clients that behave have ended"
        assert self.slowest < NOTICE_S, f"{self.asked} took {self.slowest:.2f} s"
        grown = (self.most - before) / (1 << 20)
        assert grown < growth_mib, f"memory grew by {grown:.0f} MiB"


def after_one_round(watch: Watch) -> None:
    """Wait until everybody has been asked at least once more."""
    target, end = watch.rounds + 2, time.monotonic() + 60
    while watch.rounds < target and time.monotonic() < end and not watch.failures:
        time.sleep(0.005)
    assert watch.rounds >= target or watch.failures, "the clients that behave got no answer"
