"""The settings of DomainKeys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainKeysConfig:
    """[spam.domainkeys]"""

    fail_score: float = setting(0.0, "Weight of a wrong signature. They rest on SHA-1, and few make them still.")
    timeout: float = setting(20.0, "Seconds to look for the key; then it is a temperror.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, -100, 100, "fail_score")
        yield from within(self, 1, 25, "timeout", unit="s")
