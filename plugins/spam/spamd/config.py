"""The settings of SpamAssassin as a scorer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.errors import Problem
from plugins.spam.protocol_daemon import FORMS, read_socket

_USER = re.compile(r"[A-Za-z0-9@._+-]{0,200}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpamdConfig:
    """[spam.spamd]"""

    socket: str = setting("127.0.0.1:783", "Where spamd listens: address:port, or unix:/path.")
    user: str = setting("", "Whose preferences and learnt words it takes; empty: its own.")
    factor: float = setting(1.0, "What one point of SpamAssassin's is worth here: both say spam from 5 on.")
    max_score: float = setting(10.0, "Weight that its word has at most.")
    min_score: float = setting(-3.0, "And at least, for mail that it likes.")
    on_absence: Literal["accept", "defer"] = setting("accept", "What happens to mail while it cannot be asked.")
    timeout: float = setting(40.0, "Seconds for one message.")
    max_mib: int = setting(1, "Larger messages are not shown to it: it takes seconds for them, and spam is small.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and what is no socket or user."""
        yield from within(self, 0, 10, "factor")
        yield from within(self, 0, 100, "max_score")
        yield from within(self, -100, 0, "min_score")
        yield from within(self, 1, 55, "timeout", unit="s")
        yield from within(self, 1, 2000, "max_mib", unit="MiB")
        if read_socket(self.socket) is None:
            yield Problem("socket", f"{self.socket!r} is no address of spamd.", FORMS)
        if not _USER.fullmatch(self.user):
            yield Problem("user", f"{self.user!r} is no user of spamd.", "Write a name, or leave it out.")
