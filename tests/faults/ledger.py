"""What was sent and what was promised, and whether a mailbox, the queue and the next hop hold to it."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

# What may stand before a message that is otherwise as it was sent: the lines of delivery, each with its folded rest.
_OURS = re.compile(rb"(?:(?:Return-Path|Delivered-To|Received):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*\Z")
_NUMBER = re.compile(rb"^X-Number: (\d+)\r$", re.MULTILINE)


def text_of(number: int, size: int) -> bytes:
    """Message `number` of about `size` octets, unlike all others to the last line; compression saves a quarter."""
    chance = random.Random(number)
    size = max(size, 8)
    lines = base64.encodebytes(chance.randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
    head = f"X-Number: {number}\r\nFrom: a@outside.test\r\nTo: ana@palomar.test\r\nSubject: number {number}\r\n"
    return head.encode() + b"\r\n.\r\n.. dots\r\n" + lines


def number_of(stored: bytes) -> int:
    """Which message this is; -1 for one that is none of ours."""
    found = _NUMBER.search(stored)
    return int(found[1]) if found else -1


def digest_of(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=20).digest()


@dataclass
class Ledger:
    """Messages by number. A place is an account's name, or `outside` for what leaves.

    What was promised must be in its place; what is in doubt, because the answer never came, may be; a refused one
    must not be. `gone` are those that a client removed and was told so.
    """

    sent: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # number of octets and digest
    promised: set[tuple[int, str]] = field(default_factory=set)
    doubtful: set[tuple[int, str]] = field(default_factory=set)
    refused: set[tuple[int, str]] = field(default_factory=set)
    gone: set[tuple[int, str]] = field(default_factory=set)
    maybe_gone: set[tuple[int, str]] = field(default_factory=set)
    _last: int = 0

    def make(self, size: int) -> tuple[int, bytes]:
        """Make one more message. Only its digest is kept."""
        self._last += 1
        text = text_of(self._last, size)
        self.sent[self._last] = len(text), digest_of(text)
        return self._last, text

    def is_as_sent(self, number: int, stored: bytes) -> bool:
        """Whether the octets are those of the message, behind nothing but the lines of delivery."""
        length, digest = self.sent[number]
        start = len(stored) - length
        return start >= 0 and digest_of(stored[start:]) == digest and _OURS.match(stored[:start]) is not None

    def remove(self, number: int, place: str) -> None:
        """A client has removed it and was told so."""
        self.gone.add((number, place))
        self.maybe_gone.discard((number, place))

    def expected(self, place: str) -> set[int]:
        """The numbers that must be there."""
        out = self.gone | self.maybe_gone
        return {number for number, where in self.promised - out if where == place}

    def problems(self, place: str, found: Iterable[bytes], *, doubles: bool = False) -> list[str]:
        """Everything wrong with the messages found in one place, in words. `doubles`: one may be there twice."""
        wrong = []
        counts: Counter[int] = Counter()
        for stored in found:
            number = number_of(stored)
            counts[number] += 1
            if number not in self.sent:
                wrong.append(f"{place}: nobody sent {stored[:200]!r}")
            elif not self.is_as_sent(number, stored):
                wrong.append(f"{place}: {number} is not as it was sent: {stored[:300]!r}")
            elif (number, place) in self.refused:
                wrong.append(f"{place}: {number} is there although it was refused")
            elif (number, place) in self.gone:
                wrong.append(f"{place}: {number} is there although it was removed")
            elif (number, place) not in self.promised | self.doubtful:
                wrong.append(f"{place}: {number} was sent elsewhere")
        wrong += [f"{place}: {number} is lost" for number in sorted(self.expected(place) - set(counts))]
        if not doubles:
            wrong += [f"{place}: {number} is there {n} times" for number, n in counts.items() if n > 1]
        return wrong
