"""The settings of the virus scanner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.errors import Problem

FORMS = 'Write it like "unix:/run/clamav/clamd.ctl" or "192.0.2.5:3310".'


@dataclass(frozen=True, kw_only=True, slots=True)
class ClamavConfig:
    """[spam.clamav]"""

    socket: str = setting("unix:/run/clamav/clamd.ctl", "Where clamd listens: unix:/path, or address:port.")
    on_virus: Literal["refuse", "quarantine", "junk"] = setting("refuse", "What happens to a message with a virus.")
    on_absence: Literal["defer", "accept"] = setting(
        "defer", "What happens to mail while clamd cannot be asked: defer lets peers try again."
    )
    timeout: float = setting(45.0, "Seconds for one message, the connection included.")
    max_mib: int = setting(25, "Larger messages are not shown to clamd, whose own StreamMaxLength must be as large.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and a socket that is none."""
        yield from within(self, 1, 55, "timeout", unit="s")
        yield from within(self, 1, 2000, "max_mib", unit="MiB")
        if self.where is None:
            yield Problem("socket", f"{self.socket!r} is no address of clamd.", FORMS)

    @property
    def where(self) -> tuple[str, int] | None:
        """Address and port, or the path and 0; None if `socket` is neither."""
        if self.socket.startswith("unix:"):
            return (self.socket[5:], 0) if self.socket[5:].startswith("/") else None
        host, colon, port = self.socket.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            return None
        return host.removeprefix("[").removesuffix("]"), int(port)
