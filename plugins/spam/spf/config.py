"""The settings of SPF."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class SpfConfig:
    """[spam.spf]"""

    fail_score: float = setting(3.0, "Weight of a fail: the domain says that this peer may not send for it.")
    softfail_score: float = setting(1.5, "Weight of a softfail: the domain thinks that this peer may not.")
    error_score: float = setting(0.5, "Weight of a policy that breaks the rules (permerror).")
    pass_score: float = setting(-0.1, "Weight of a pass, which spammers have too.")
    helo_fail_score: float = setting(2.0, "Weight of a fail of the name in EHLO.")
    timeout: float = setting(20.0, "Seconds for all look-ups of one message; then it is a temperror.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        scores = ("fail_score", "softfail_score", "error_score", "pass_score", "helo_fail_score")
        yield from within(self, -100, 100, *scores)
        yield from within(self, 1, 25, "timeout", unit="s")
