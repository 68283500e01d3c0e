"""The settings of Rspamd as a scorer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.errors import Problem
from plugins.spam.protocol_daemon import FORMS, read_socket


@dataclass(frozen=True, kw_only=True, slots=True)
class RspamdConfig:
    """[spam.rspamd]"""

    socket: str = setting("127.0.0.1:11333", "Where Rspamd's normal worker listens: address:port, or unix:/path.")
    factor: float = setting(0.8, "What one point of Rspamd's is worth here: it refuses at 15, we at 12.")
    max_score: float = setting(10.0, "Weight that its word has at most.")
    min_score: float = setting(-3.0, "And at least, for mail that it likes.")
    on_absence: Literal["accept", "defer"] = setting("accept", "What happens to mail while it cannot be asked.")
    timeout: float = setting(20.0, "Seconds for one message.")
    max_mib: int = setting(10, "Larger messages are not shown to it.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and a socket that is none."""
        yield from within(self, 0, 10, "factor")
        yield from within(self, 0, 100, "max_score")
        yield from within(self, -100, 0, "min_score")
        yield from within(self, 1, 55, "timeout", unit="s")
        yield from within(self, 1, 2000, "max_mib", unit="MiB")
        if read_socket(self.socket) is None:
            yield Problem("socket", f"{self.socket!r} is no address of Rspamd.", FORMS)
