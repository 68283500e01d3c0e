"""The settings of DKIM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.errors import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class DkimConfig:
    """[spam.dkim]"""

    sign: bool = setting(True, "Sign what our own people send, with keys that are made for each of our domains.")
    kinds: tuple[Literal["rsa", "ed25519"], ...] = setting(
        ("rsa", "ed25519"), "Kinds of keys to sign with; whoever does not know the second reads the first."
    )
    rotate_days: int = setting(365, "Days after which new keys are made; 0: never by themselves.")
    overlap_days: int = setting(30, "Days for which a replaced key is kept, and its record belongs in DNS.")
    pass_score: float = setting(-0.2, "Weight of a signature that is right.")
    fail_score: float = setting(0.5, "Weight of a signature that is wrong where none is right; lists break them too.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and no kind of key at all."""
        yield from within(self, 0, 3650, "rotate_days", unit="days")
        yield from within(self, 7, 365, "overlap_days", unit="days")
        yield from within(self, -100, 100, "pass_score", "fail_score")
        if self.sign and not self.kinds:
            yield Problem(
                "kinds", "is empty, so there would be nothing to sign with.", 'Write ["rsa"] or sign = false.'
            )
