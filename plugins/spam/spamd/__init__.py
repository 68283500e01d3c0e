"""What a SpamAssassin here or elsewhere says of a message. Settings: [spam.spamd]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.spamd.config import SpamdConfig
from plugins.spam.spamd.scorer import Spamd


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.spamd", SpamdConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Spamd(core)]
