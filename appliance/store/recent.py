"""Bodies that were read lately: what is new is fetched by each of a person's devices within a while.

Of short ones the whole text is kept, of others a short stretch: what people read, without what is attached to it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.store.bodies import StoredBody

SHORT = 16 << 10  # octets of a text up to which it is kept
STRETCH = 8 << 10  # octets that are kept of a longer one at most
LIMIT = 8 << 20  # octets kept together
_OVERHEAD = 2 << 10  # octets of a body beside header and text: mostly its structure

Key = tuple[int, int]  # body and filing: neither id is given twice, and what they name never changes


class RecentBodies:
    """The bodies used last. Any thread. Nothing has to be taken out when messages go: nobody asks for them then."""

    __slots__ = ("_bodies", "_lock", "_octets")

    def __init__(self) -> None:
        self._bodies: OrderedDict[Key, StoredBody] = OrderedDict()
        self._lock = threading.Lock()
        self._octets = 0

    def get(self, key: Key) -> StoredBody | None:
        """A body, if it is kept."""
        if (found := self._bodies.get(key)) is not None:
            with self._lock:
                if key in self._bodies:
                    self._bodies.move_to_end(key)
        return found

    def renew(self, key: Key, body: StoredBody) -> None:
        """Keep a body instead of what was kept of it: its text was moved."""
        with self._lock:
            if (before := self._bodies.pop(key, None)) is not None:
                self._octets -= before.cost + _OVERHEAD
        self.keep(key, body)

    def keep(self, key: Key, body: StoredBody) -> None:
        """Keep a body; those that were not used for longest make room for it."""
        with self._lock:
            if key not in self._bodies:
                self._bodies[key] = body
                self._octets += body.cost + _OVERHEAD
            while self._octets > LIMIT:
                self._octets -= self._bodies.popitem(last=False)[1].cost + _OVERHEAD
