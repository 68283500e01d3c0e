"""Join mail with the board and network process: addresses, time, health. Loaded as "network"; settings: [network].

palomar-hw reads the same table and does the work; where it does not run, this plugin says so and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.config import Section
from appliance.hookspecs import hookimpl
from hw.config import NetworkConfig

if TYPE_CHECKING:
    import click

    from appliance.core import Core
    from appliance.hookspecs import Service
    from hw.mailside import HwLink


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("network", NetworkConfig)]


@hookimpl
def commands() -> Sequence[click.Command]:
    from hw.command import network

    return [network]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Network(core)]


class Network:
    """The hooks that share one link: it is made with the services, and asked for the status."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._link: HwLink | None = None

    @hookimpl
    def services(self) -> Sequence[Service]:
        from hw.mailside import HwLink

        self._link = HwLink(self._core)
        return [self._link]

    @hookimpl
    def status(self) -> Sequence[tuple[str, str, str]]:
        return list(self._link.lines()) if self._link is not None else []
