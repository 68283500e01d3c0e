"""The administrator's own rules for header fields, with patterns in linear time. Settings: [spam.headers]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.headers.config import HeadersConfig
from plugins.spam.headers.rules import Headers


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.headers", HeadersConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Headers(core)]
