"""The settings of local delivery."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.config import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class MdaConfig:
    """[mda]"""

    separator: str = setting("+", "Starts the detail of a sub-address: ana+lists@ is ana's. Empty switches it off.")
    file_by_detail: bool = setting(False, "File mail for ana+lists@ in her mailbox 'lists' if she has one.")

    def __post_init__(self) -> None:
        if len(self.separator) > 1 or (self.separator and self.separator not in "+-=_#"):
            raise ValueError(f"separator must be one of + - = _ # or empty, not {self.separator!r}")
