"""The settings of the virus scanner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.errors import Problem
from plugins.spam.protocol_daemon import FORMS, read_socket


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
        if read_socket(self.socket) is None:
            yield Problem("socket", f"{self.socket!r} is no address of clamd.", FORMS)
