"""Short bodies that were read lately: what is new is fetched by each of a person's devices within a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.store.bodies import StoredBody

SHORT = 16 << 10  # octets of a text up to which it is kept
LIMIT = 4 << 20  # octets kept together
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

    def keep(self, key: Key, body: StoredBody) -> None:
        """Keep a body if it is short; those that were not used for longest make room for it."""
        if body.text_size > SHORT:
            return
        with self._lock:
            if key not in self._bodies:
                self._bodies[key] = body
                self._octets += _cost(body)
            while self._octets > LIMIT:
                self._octets -= _cost(self._bodies.popitem(last=False)[1])


def _cost(body: StoredBody) -> int:
    return len(body.header) + body.text_size + _OVERHEAD
