"""Filters in processes of their own, by the milter protocol of Sendmail and Postfix. Settings: [milter]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.milter.config import MilterConfig
from plugins.milter.milters import Milters


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("milter", MilterConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Milters(core)]
