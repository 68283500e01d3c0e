"""The last answers of SORT and THREAD: a client asks the same again each time it comes to a mailbox."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

MAX_ANSWERS = 16
MAX_OCTETS = 4 << 20
_WIDTH = 4  # octets of a number in an array


class Asked(NamedTuple):
    """What an answer depends on: as long as the messages are the same, so are their conversations and their order.

    `question` is what was asked about them. `uids` and `numbers` are ranges or arrays, whose comparison is quick.
    """

    mailbox_id: int
    question: Hashable
    uids: Sequence[int]
    numbers: Sequence[int]


class AnswerCache:
    """Answers, the last one used last. Lives on the event loop."""

    def __init__(self) -> None:
        self._kept: list[tuple[Asked, bytes]] = []

    def get(self, asked: Asked) -> bytes | None:
        """The answer, if it is still kept."""
        for place, (other, answer) in enumerate(self._kept):
            if other == asked:
                self._kept.append(self._kept.pop(place))
                return answer
        return None

    def keep(self, asked: Asked, answer: bytes) -> None:
        """Keep an answer; the oldest ones make room for it."""
        self._kept = [entry for entry in self._kept if entry[0][:2] != asked[:2]]
        self._kept.append((asked, answer))
        while len(self._kept) > MAX_ANSWERS or sum(map(_octets, self._kept)) > MAX_OCTETS:
            del self._kept[0]


def _octets(entry: tuple[Asked, bytes]) -> int:
    asked, answer = entry
    return len(answer) + _WIDTH * sum(len(kept) for kept in asked[2:] if not isinstance(kept, range))
