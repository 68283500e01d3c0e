"""What a plugin gets to work with: the finished core, handed to `services`, `transports` and their like."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from appliance.config import CoreConfig
from appliance.timestate import TimeState

if TYPE_CHECKING:
    from appliance.auth import Authenticator
    from appliance.config import Settings
    from appliance.dispatch import Dispatch
    from appliance.dns import Resolver
    from appliance.intake import Intake
    from appliance.listener import Listener
    from appliance.mail.address import Address
    from appliance.mail.language import Language
    from appliance.queue.runner import QueueRunner
    from appliance.store import Store
    from appliance.tls import Certificates
    from appliance.trace import Trace


@dataclass(slots=True)
class Core:
    """The parts of the running appliance. Built once by `appliance.app`, not changed afterwards but for this:

    `settings` is replaced as a whole on reload: keep the Core, not a section, where a change must be seen.
    `now` gives epoch seconds; tests hand in their own. `time_state` says how far they can be trusted; whoever watches
    the clock sets it. `listeners` are those of all roles, from before the first service starts.
    """

    settings: Settings
    store: Store
    dispatch: Dispatch
    auth: Authenticator
    certificates: Certificates
    resolver: Resolver
    trace: Trace
    intake: Intake
    queue: QueueRunner
    now: Callable[[], float] = field(default=time.time)
    time_state: TimeState = "synced"
    listeners: Sequence[Listener] = ()

    def language_of(self, address: Address) -> Language:
        """The language to write in to somebody: the account's own choice, else that of the appliance."""
        return self.store.directory.language(address.key) or self.settings[CoreConfig].language
