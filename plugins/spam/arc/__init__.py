"""Authenticated Received Chain: what servers on the way had found (RFC 8617). Settings: [spam.arc]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.arc.config import ArcConfig
from plugins.spam.arc.mechanism import Arc


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.arc", ArcConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Arc(core)]
