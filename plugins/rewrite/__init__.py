"""Other addresses in place of some: canonical ones, hidden machines, names for the outside. Settings: [rewrite]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.rewrite.config import RewriteConfig
from plugins.rewrite.rewriting import Rewriting


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("rewrite", RewriteConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Rewriting(core)]
