"""Mask addresses: revocable, expiring addresses that lead to an account. Settings: [masks]."""

from __future__ import annotations

from collections.abc import Sequence

import click

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.store.schema import Migration
from plugins.masks.config import MasksConfig
from plugins.masks.masks import Masks
from plugins.masks.schema import MIGRATIONS


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("masks", MasksConfig)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.masks.command import mask

    return [mask]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Masks(core)]
