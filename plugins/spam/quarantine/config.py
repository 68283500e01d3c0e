"""The settings of quarantine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem

MAX_NAME = 32  # characters; name, separator and token are one local part


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantineConfig:
    """[spam.quarantine]"""

    digest: bool = setting(True, "Tell each account once a day by mail what is held for it, if anything new is.")
    digest_hour: int = setting(7, "The hour from which that mail is sent, in the machine's time zone.")
    days: float = setting(14.0, "Days after which what nobody has released is removed.")
    link_days: float = setting(7.0, "Days for which a link can be used, once.")
    max_held: int = setting(1000, "Messages held for one account; beyond that the oldest are removed.")
    release_name: str = setting(
        "release", "Links lead to release+TOKEN@ the account's domain; this is another name than release."
    )

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and a name that fits into no address."""
        yield from within(self, 0, 23, "digest_hour")
        yield from within(self, 1, 365, "days", unit="days")
        yield from within(self, 0.01, 60, "link_days", unit="days")
        yield from within(self, 1, 100_000, "max_held")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.release_name) or len(self.release_name) > MAX_NAME:
            yield Problem(
                "release_name",
                f"{self.release_name!r} is no name for an address.",
                f"Use up to {MAX_NAME} lower-case letters, digits and hyphens.",
            )
