"""Hand mail for chosen domains over to a server that keeps their mailboxes, by LMTP (RFC 2033). Settings: [lmtp]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Transport, hookimpl
from plugins.lmtp.config import LmtpConfig
from plugins.lmtp.routes import Routes
from plugins.lmtp.transport import LmtpTransport


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("lmtp", LmtpConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Routes(core)]


@hookimpl
def transports(core: Core) -> Sequence[Transport]:
    return [LmtpTransport(core)]
