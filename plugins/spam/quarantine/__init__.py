"""Quarantine for people: daily mails of what is held, links that release it, a command. Settings: [spam.quarantine]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import FilingTransport, Service, hookimpl
from appliance.store.schema import Migration
from plugins.spam.quarantine.config import QuarantineConfig
from plugins.spam.quarantine.desk import Desk
from plugins.spam.quarantine.digests import send_now
from plugins.spam.quarantine.links import Links, ReleaseTransport
from plugins.spam.quarantine.schema import MIGRATIONS
from plugins.spam.quarantine.warden import Warden


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.quarantine", QuarantineConfig)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.spam.quarantine.command import quarantine

    return [quarantine]


@hookimpl
def calls() -> Sequence[tuple[str, Callable[..., Any]]]:
    return [("quarantine.digest", send_now)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Links(core), Desk(core)]


@hookimpl
def transports(core: Core) -> Sequence[FilingTransport]:
    return [ReleaseTransport(core)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    return [Warden(core)]
