"""The first level for mail programs outside: TLS ends here, what they say goes to inner servers. Settings: [proxy]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, hookimpl
from plugins.proxy.config import ProxyConfig
from plugins.proxy.listeners import listeners


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("proxy", ProxyConfig)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    return listeners(core)
