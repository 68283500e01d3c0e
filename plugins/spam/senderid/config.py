"""The settings of Sender-ID."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class SenderIdConfig:
    """[spam.senderid]"""

    fail_score: float = setting(0.0, "Weight of a fail. Mailing lists fail often; DMARC is what counts today.")
    timeout: float = setting(20.0, "Seconds for all look-ups of one message; then it is a temperror.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, -100, 100, "fail_score")
        yield from within(self, 1, 25, "timeout", unit="s")
