"""Receive mail: the MX port, submission for our own people, LMTP for another MTA. Settings: [smtp]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, hookimpl
from plugins.smtp.config import SmtpConfig
from plugins.smtp.ports import listeners


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("smtp", SmtpConfig)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    extensions = [line for _, line in core.dispatch.gather("smtp_extensions", core=core)]
    return listeners(core, extensions)
