"""Delivery to other domains by their mail exchangers (MX). Settings: [relay]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Transport, hookimpl
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from plugins.relay.backup import BackupTransport
from plugins.relay.config import RelayConfig
from plugins.relay.routes import Routes
from plugins.relay.transport import RelayTransport


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("relay", RelayConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Routes(core)]


@hookimpl
def transports(core: Core) -> Sequence[Transport]:
    return [RelayTransport(core), BackupTransport(core)]


@hookimpl(trylast=True)
async def route_recipient(recipient: Recipient) -> Route | None:
    return Route("relay", recipient.address.domain)  # whatever nobody else has a way for
