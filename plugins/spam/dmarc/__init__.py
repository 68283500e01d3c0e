"""The author's domain, and what it asks for when mail in its name is not its own (DMARC). Settings: [spam.dmarc]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.mechanism import Dmarc
from plugins.spam.dmarc.reports import Reports

if TYPE_CHECKING:
    import click


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.dmarc", DmarcConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    reports = Reports(core)
    found: list[object] = [Dmarc(core, reports), reports]
    if core.settings[DmarcConfig].report_address:  # else not even a look at whom mail is for
        from plugins.spam.dmarc.received import ReceivedReports

        found.append(ReceivedReports(core))
    return found


@hookimpl
def commands() -> Sequence[click.Command]:
    from plugins.spam.dmarc.command import dmarc

    return [dmarc]
