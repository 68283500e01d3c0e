"""The settings of mask addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class MasksConfig:
    """[masks]"""

    days: float = setting(0.0, "Days for which a new mask address is good, if the command says nothing; 0: for good.")
    max_per_account: int = setting(500, "Mask addresses of one account, those that are not good any more included.")
    length: int = setting(8, "Characters of a new mask address in front of the @.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        yield from within(self, 0, 36_500, "days", unit="days")
        yield from within(self, 1, 100_000, "max_per_account")
        yield from within(self, 6, 32, "length")
