"""Receive mail: the MX port, submission for our own people, LMTP for another MTA. Settings: [smtp]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, StatusLine, hookimpl
from plugins.smtp.config import SmtpConfig
from plugins.smtp.ports import PORTS, listeners


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("smtp", SmtpConfig)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    extensions = [line for _, line in core.dispatch.gather("smtp_extensions", core=core)]
    return listeners(core, extensions)


@hookimpl
def status(core: Core) -> Sequence[StatusLine]:
    names = {port.name for port in PORTS}
    return [
        ("Stress", f"{one.name} is nearly full, with {len(one.connections)} connections: it hurries", "warning")
        for one in core.listeners
        if one.name in names and one.stress.on
    ]
