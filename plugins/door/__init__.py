"""Defence at the door: strangers on the MX port, and accounts that send too much. Settings: [door], [door.outbound]."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Section
from appliance.core import Core
from appliance.flusher import Flusher
from appliance.hookspecs import Service, StatusLine, hookimpl
from appliance.mail.session import Session
from plugins.door.callout import Callout
from plugins.door.config import DoorConfig, OutboundConfig
from plugins.door.door import Door
from plugins.door.ledger import Ledger
from plugins.door.outbound import Outbound
from plugins.door.senders import Senders


@hookimpl
def settings() -> Sequence[Section]:
    return [Section("door", DoorConfig), Section("door.outbound", OutboundConfig)]


@hookimpl
def hooks(core: Core) -> Sequence[object]:
    door, outbound = Door(core), Outbound(core)
    return [door, Senders(core), Callout(core), outbound, Keeping(door, outbound)]


class Keeping:
    """What concerns several of the others: the end of a session, the service, the status."""

    def __init__(self, door: Door, outbound: Outbound) -> None:
        self._door = door
        self._outbound = outbound

    @hookimpl
    async def smtp_disconnect(self, session: Session) -> None:
        """Count the connection no more."""
        self._door.leave(session)
        self._outbound.leave(session)

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """The ledger of the outbound limit."""
        ledger = Ledger(core, self._outbound)
        return [Flusher("door", ledger.load, ledger.flush)]

    @hookimpl
    def status(self) -> Sequence[StatusLine]:
        """What the door does."""
        return self._door.status()
