"""What an Rspamd here or elsewhere says of a message. Settings: [spam.rspamd]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.rspamd.config import RspamdConfig
from plugins.spam.rspamd.scorer import Rspamd


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.rspamd", RspamdConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Rspamd(core)]
