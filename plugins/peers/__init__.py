"""Servers that know each other: who gets mail at which, for backups and first-level servers. Settings: [peers]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, StatusLine, hookimpl
from appliance.store.schema import Migration
from plugins.peers.config import PeersConfig
from plugins.peers.guard import Guard
from plugins.peers.schema import MIGRATIONS

if TYPE_CHECKING:
    import click


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("peers", PeersConfig)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Guard(core)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    from plugins.peers.caller import Callers
    from plugins.peers.receiver import listener

    return [listener(core), Callers(core)]


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.peers.command import peers

    return [peers]


@hookimpl
def status(core: Core) -> Sequence[StatusLine]:
    from plugins.peers.overview import lines

    return list(lines(core))
