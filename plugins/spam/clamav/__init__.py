"""Viruses, by a clamd here or elsewhere. Settings: [spam.clamav]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.clamav.config import ClamavConfig
from plugins.spam.clamav.scanner import Scanner


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.clamav", ClamavConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Scanner(core)]
