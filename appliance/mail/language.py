"""The languages that the appliance writes to people in."""

from __future__ import annotations

from typing import Literal, get_args

Language = Literal["en", "es"]
"""English or Spanish, by its tag (RFC 5646)."""

LANGUAGES: tuple[Language, ...] = get_args(Language)
