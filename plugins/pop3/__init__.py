"""Let mail programs fetch the mail in INBOX by POP3. Settings: [pop3]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, hookimpl
from appliance.store.schema import Migration
from plugins.pop3.config import Pop3Config
from plugins.pop3.expiry import Expiry
from plugins.pop3.listeners import listeners
from plugins.pop3.lock import Locks
from plugins.pop3.schema import MIGRATIONS


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("pop3", Pop3Config)]


@hookimpl
def migrations() -> Sequence[Migration]:
    return MIGRATIONS


@hookimpl
def services(core: Core) -> Sequence[Service]:
    locks = Locks()
    return [*listeners(core, locks), Expiry(core, locks)]
