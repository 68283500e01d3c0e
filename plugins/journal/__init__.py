"""An archive gets a copy of every message of chosen people, with its envelope. Settings: [journal]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.journal.config import JournalConfig
from plugins.journal.journal import Journal


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("journal", JournalConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Journal(core)]
