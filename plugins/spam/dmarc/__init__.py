"""The author's domain, and what it asks for when mail in its name is not its own (DMARC). Settings: [spam.dmarc]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.mechanism import Dmarc


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.dmarc", DmarcConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Dmarc(core)]
