"""Return addresses of our own for mail that is redirected to other systems (SRS). Settings: [srs]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.store.schema import Migration
from plugins.srs.config import SrsConfig
from plugins.srs.rewriting import Rewriting
from plugins.srs.schema import MIGRATIONS


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("srs", SrsConfig)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Rewriting(core)]
