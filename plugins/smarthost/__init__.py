"""Sending by smart hosts: all mail, or that of chosen senders or recipients. Settings: [smarthost]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Transport, hookimpl
from plugins.smarthost.config import SmarthostConfig
from plugins.smarthost.routes import Routes
from plugins.smarthost.transport import SmarthostTransport


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("smarthost", SmarthostConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Routes(core)]


@hookimpl
def transports(core: Core) -> Sequence[Transport]:
    return [SmarthostTransport(core)]
