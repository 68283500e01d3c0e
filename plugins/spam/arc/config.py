"""The settings of ARC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import domain_name, setting
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class ArcConfig:
    """[spam.arc]"""

    trusted_sealers: tuple[str, ...] = setting(
        (), "Domains whose seals are believed: mail that their lists have changed keeps what it had proven before."
    )
    seal: bool = setting(True, "Seal mail that redirects and lists of ours send on, with the keys of spam.dkim.")

    def problems(self) -> Iterator[Problem]:
        """Names that are none."""
        for name in self.trusted_sealers:
            yield from domain_name("trusted_sealers", name)
