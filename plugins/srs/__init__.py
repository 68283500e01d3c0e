"""Return addresses of our own for mail that is redirected to other systems (SRS). Settings: [srs]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.store.schema import Migration
from plugins.srs.config import SrsConfig
from plugins.srs.rewriting import Rewriting, rotate
from plugins.srs.schema import MIGRATIONS

if TYPE_CHECKING:
    import click


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("srs", SrsConfig)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Rewriting(core)]


@hookimpl
def calls() -> Sequence[tuple[str, Callable[..., Any]]]:
    return [("srs.rotate", rotate)]


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.srs.command import srs

    return [srs]
