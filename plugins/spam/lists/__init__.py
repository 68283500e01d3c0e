"""Whom the office and each account trust, refuse, and have written to. Settings: [spam.lists]."""

from __future__ import annotations

from collections.abc import Sequence

import click

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.store.schema import Migration
from plugins.spam.lists.config import ListsConfig
from plugins.spam.lists.lists import Lists
from plugins.spam.lists.schema import MIGRATIONS


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.lists", ListsConfig)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.spam.lists.command import lists

    return [lists]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Lists(core)]
