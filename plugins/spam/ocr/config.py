"""The settings of the reader of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.config import setting, within
from appliance.errors import Problem

_LANGUAGES = re.compile(r"[a-z]{3,8}(?:_[a-zA-Z]{2,8})*")


@dataclass(frozen=True, kw_only=True, slots=True)
class OcrConfig:
    """[spam.ocr]"""

    program: str = setting("/usr/bin/tesseract", "Debian's tesseract-ocr.")
    languages: tuple[str, ...] = setting(("eng",), "Languages that it has (tesseract --list-langs); each takes time.")
    images: int = setting(3, "Images of one message that are read, the largest first.")
    seconds: float = setting(20.0, "For all images of one message, the wait for other messages' included.")
    pixels: int = setting(6_000_000, "An image with more is not decoded.")
    text_score: float = setting(0.1, "Weight of images that say something; what they say is for other filters.")
    memory_mib: int = setting(400, "Memory of tesseract, which reads one image at a time.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and what is no path or language."""
        yield from within(self, 1, 20, "images")
        yield from within(self, 1, 50, "seconds", unit="s")
        yield from within(self, 10_000, 100_000_000, "pixels")
        yield from within(self, -100, 100, "text_score")
        yield from within(self, 100, 4000, "memory_mib", unit="MiB")
        if not self.program.startswith("/"):
            yield Problem("program", f"{self.program!r} is no path.", "Write it from the root on.")
        if not self.languages or not all(_LANGUAGES.fullmatch(one) for one in self.languages):
            yield Problem("languages", "holds what is no language of tesseract.", 'Write them as in ["eng", "spa"].')
