"""TLS policies of the way to other domains: MTA-STS, DANE, memory, and TLS reports. Settings: [tlspolicy]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.tlspolicy.config import TlspolicyConfig
from plugins.tlspolicy.policies import Policies

if TYPE_CHECKING:
    import click


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("tlspolicy", TlspolicyConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Policies(core)]


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.tlspolicy.command import tls

    return [tls]
