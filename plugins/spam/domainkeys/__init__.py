"""DomainKeys: the signatures that came before DKIM (RFC 4870). Informative. Settings: [spam.domainkeys]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.domainkeys.config import DomainKeysConfig
from plugins.spam.domainkeys.mechanism import DomainKeys


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.domainkeys", DomainKeysConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [DomainKeys(core)]
