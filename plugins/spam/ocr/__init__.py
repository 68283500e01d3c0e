"""What images in mail say, read by tesseract, for the filters that read text. Settings: [spam.ocr]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.ocr.config import OcrConfig
from plugins.spam.ocr.reader import Reader


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.ocr", OcrConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Reader(core)]
