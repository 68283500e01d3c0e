"""The last answers of THREAD: a client asks the same again each time it comes to a mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_ANSWERS = 16
MAX_OCTETS = 4 << 20


class Asked(NamedTuple):
    """What an answer depends on: as long as the messages are the same, so are their conversations."""

    mailbox_id: int
    algorithm: str
    uids: Sequence[int]
    numbers: Sequence[int]


class ThreadCache:
    """Answers, the last one used last. Lives on the event loop."""

    def __init__(self) -> None:
        self._kept: list[tuple[Asked, bytes]] = []

    def get(self, asked: Asked) -> bytes | None:
        """The answer, if it is still kept."""
        for place, (other, threads) in enumerate(self._kept):
            if other == asked:
                self._kept.append(self._kept.pop(place))
                return threads
        return None

    def keep(self, asked: Asked, threads: bytes) -> None:
        """Keep an answer; the oldest ones make room for it."""
        self._kept = [entry for entry in self._kept if entry[0][:2] != asked[:2]]
        self._kept.append((asked, threads))
        while len(self._kept) > MAX_ANSWERS or sum(map(_octets, self._kept)) > MAX_OCTETS:
            del self._kept[0]


def _octets(entry: tuple[Asked, bytes]) -> int:
    asked, threads = entry
    return len(threads) + 8 * (len(asked.uids) + len(asked.numbers))
