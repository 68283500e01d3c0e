"""The settings of brand indicators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class BimiConfig:
    """[spam.bimi]"""

    timeout: float = setting(10.0, "Seconds for the look-ups of one message; then it is a temperror.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, 1, 25, "timeout", unit="s")
