"""Lists in DNS: of peers, senders and links (RFC 5782). Settings: [spam.dnsbl]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import hookimpl
from plugins.spam.dnsbl.config import DnsblConfig
from plugins.spam.dnsbl.dnsbl import Dnsbl


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("spam.dnsbl", DnsblConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    return [Dnsbl(core)]
