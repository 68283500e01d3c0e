"""Rules that know spam by its tricks, each named, described and weighed. Settings: [spam.heuristics]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.heuristics.config import HeuristicsConfig
from plugins.spam.heuristics.heuristics import Heuristics


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.heuristics", HeuristicsConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Heuristics(core)]
