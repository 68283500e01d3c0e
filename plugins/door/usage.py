"""How much an account has sent in the last hour and day: counted in slots of five minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from plugins.door.config import OutboundConfig
from plugins.door.networks import Recent

SLOT_S = 300
HOUR_SLOTS = 12
DAY_SLOTS = 288
MAX_DESTINATIONS = 5000  # recipients of one account that are not new to it


@dataclass(slots=True)
class Slot:
    """What happened in one slot; `number` is its time in units of SLOT_S."""

    number: int
    messages: int = 0
    recipients: int = 0
    new: int = 0
    settled: int = 0
    failed: int = 0

    def add(self, other: Slot, sign: int = 1) -> None:
        """Add what another one counted, or take it away."""
        self.messages += sign * other.messages
        self.recipients += sign * other.recipients
        self.new += sign * other.new
        self.settled += sign * other.settled
        self.failed += sign * other.failed


class Usage:
    """One account's last day. Times are epoch seconds; a clock that is set back changes nothing that was counted."""

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()
        self._day = Slot(0)
        self.destinations: Recent[int, int] = Recent(MAX_DESTINATIONS)  # of each, when it was last written to

    def add(
        self, at: float, *, messages: int = 0, recipients: int = 0, new: int = 0, settled: int = 0, failed: int = 0
    ) -> None:
        """Count what happens now."""
        self.load(Slot(int(at // SLOT_S), messages, recipients, new, settled, failed))

    def load(self, counted: Slot) -> None:
        """Count a slot of this time, or of a run before."""
        slots = self._slots
        if not slots or slots[-1].number < counted.number:
            slots.append(Slot(counted.number))
        slots[-1].add(counted)
        self._day.add(counted)
        while slots[0].number <= slots[-1].number - DAY_SLOTS:
            self._day.add(slots.popleft(), -1)

    def destination(self, key: int, at: float) -> bool:
        """Note a recipient. Returns whether it is new to the account."""
        new = self.destinations.get(key) is None
        self.destinations.put(key, int(at))
        return new

    def slots(self, first: int) -> Iterator[Slot]:
        """The slots from a number on."""
        return (slot for slot in self._slots if slot.number >= first)

    def hour(self, at: float) -> Slot:
        """The last hour together."""
        total = Slot(0)
        for slot in reversed(self._slots):
            if slot.number <= int(at // SLOT_S) - HOUR_SLOTS:
                break
            total.add(slot)
        return total

    def day(self, at: float) -> Slot:
        """The last day together."""
        while self._slots and self._slots[0].number <= int(at // SLOT_S) - DAY_SLOTS:
            self._day.add(self._slots.popleft(), -1)
        return self._day

    def excess(self, at: float, config: OutboundConfig) -> str:
        """What passes a limit, in words; empty if nothing does."""
        day = self.day(at)
        for count, limit, words in (
            (day.messages, config.messages_per_day, "messages in a day"),
            (day.recipients, config.recipients_per_day, "recipients in a day"),
            (day.new, config.new_recipients_per_day, "recipients in a day to whom it never wrote before"),
        ):
            if limit and count > limit:
                return f"{count} {words}"
        if config.bounces and day.failed >= config.bounces and day.failed >= config.bounce_share * day.settled:
            return f"{day.failed} of {day.settled} deliveries in a day failed"
        if not (config.messages_per_hour or config.recipients_per_hour):
            return ""
        hour = self.hour(at)
        if config.messages_per_hour and hour.messages > config.messages_per_hour:
            return f"{hour.messages} messages in an hour"
        if config.recipients_per_hour and hour.recipients > config.recipients_per_hour:
            return f"{hour.recipients} recipients in an hour"
        return ""

    def forget(self) -> None:
        """Begin anew: somebody has looked at the account."""
        self._slots.clear()
        self._day = Slot(0)
