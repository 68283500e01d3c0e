"""Hosts that did not answer, as all destinations that share them know: who is dead is not asked again by each.

A host is an address and a port. After a failure it is left alone for a minute, then for two, and so on; when that is
over, one delivery finds out whether it is back while the others still go on to their next host. Times are seconds of a
clock that only grows.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 1800.0
PROBE_S = 60.0  # that one attempt has to find out; then another may
MAX_HOSTS = 2000  # remembered; beyond it the one that failed longest ago is forgotten


@dataclass(slots=True)
class _Dead:
    failures: int  # in a row
    failed_at: float
    resume_at: float
    reason: str


class DeadHosts:
    """The memory. What is not in it is taken to be alive."""

    def __init__(self) -> None:
        self._dead: dict[tuple[str, int], _Dead] = {}  # by address and port, the latest failure last

    def __len__(self) -> int:
        return len(self._dead)

    def why_not(self, address: str, port: int, now: float) -> str:
        """Why a host is not to be tried now; empty if it may be. Whoever is let through is the one that finds out."""
        dead = self._dead.get((address, port))
        if dead is None:
            return ""
        if now < dead.resume_at:
            return dead.reason
        dead.resume_at = now + PROBE_S
        return ""

    def failed(self, address: str, port: int, started_at: float, now: float, reason: str) -> None:
        """Note that a host did not answer. Attempts that ran side by side count once."""
        dead = self._dead.pop((address, port), None)
        failures = 0
        if dead is not None:
            if started_at <= dead.failed_at:
                self._dead[address, port] = dead
                return
            failures = dead.failures
        elif len(self._dead) >= MAX_HOSTS:
            del self._dead[next(iter(self._dead))]
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 16))
        self._dead[address, port] = _Dead(failures + 1, now, now + pause, reason)

    def answered(self, address: str, port: int) -> None:
        """Note that a host greets."""
        if self._dead:
            self._dead.pop((address, port), None)

    def forgive(self) -> None:
        """Let all be tried at once: somebody says so, or our own network was what was wrong."""
        self._dead.clear()
