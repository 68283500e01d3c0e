"""Read mail by IMAP4rev1: several mail programs on the same mailboxes, told of changes at once. Settings: [imap4]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, hookimpl
from plugins.imap4.config import Imap4Config
from plugins.imap4.listeners import listeners


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("imap4", Imap4Config)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    return listeners(core)
