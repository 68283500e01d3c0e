"""Sender Policy Framework: may this peer send for this domain (RFC 7208). Settings: [spam.spf]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.spf.config import SpfConfig
from plugins.spam.spf.mechanism import Spf


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.spf", SpfConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Spf(core)]
