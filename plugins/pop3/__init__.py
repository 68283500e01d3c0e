"""Let mail programs fetch the mail in INBOX by POP3. Settings: [pop3]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.hookspecs import Service, hookimpl
from plugins.pop3.config import Pop3Config
from plugins.pop3.listeners import listeners
from plugins.pop3.lock import Locks


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("pop3", Pop3Config)]


@hookimpl
def services(core: Core) -> Sequence[Service]:
    return listeners(core, Locks())
