"""Signatures by domains (DKIM, RFC 6376): strangers' are verified, our own made. Settings: [spam.dkim]."""

from __future__ import annotations

from collections.abc import Sequence

import click

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.store.schema import Migration
from plugins.spam.dkim.config import DkimConfig
from plugins.spam.dkim.keyring import Keyring
from plugins.spam.dkim.mechanism import Dkim
from plugins.spam.dkim.schema import MIGRATIONS


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.dkim", DkimConfig)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.spam.dkim.command import dkim

    return [dkim]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Dkim(core, Keyring(core))]
