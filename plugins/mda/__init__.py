"""Local delivery: domains, accounts, aliases, redirects, lists, sub-addresses, catch-all, quotas. Settings: [mda]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import FilingTransport, hookimpl
from plugins.mda.config import MdaConfig
from plugins.mda.credentials import StoredCredentials
from plugins.mda.delivery import Delivery, LocalTransport
from plugins.mda.lists import ListTransport
from plugins.mda.recipients import Recipients


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("mda", MdaConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Recipients(core), Delivery(core), StoredCredentials(core)]


@hookimpl
def transports(core: Core) -> Sequence[FilingTransport]:
    return [LocalTransport(core), ListTransport(core)]
