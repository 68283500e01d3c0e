"""Counts of the base and of accounts: bounded, in memory, with what has changed since they were written down."""

from __future__ import annotations

from collections.abc import Iterable

from plugins.spam.bayes.protocol_classifier import Counts
from plugins.spam.bayes.schema import BASE

SLACK = 1.1  # counts may grow so far above their limit before rare tokens are looked for: that costs a sort


class Memory:
    """The counts by owner."""

    def __init__(self) -> None:
        self.owners: dict[int, Counts] = {BASE: Counts()}
        self._touched: set[tuple[int, int]] = set()
        self._gone: set[tuple[int, int]] = set()
        self._totals: set[int] = set()

    @property
    def base(self) -> Counts:
        """What all have learnt."""
        return self.owners[BASE]

    def learn(self, owner: int, tokens: Iterable[int], *, spam: bool, day: int, room: int) -> None:
        """Count one message for the base or an account, which keeps at most about `room` tokens."""
        counts = self.owners.setdefault(owner, Counts())
        tokens = list(tokens)
        counts.learn(tokens, spam=spam, day=day)
        self._totals.add(owner)
        self._touched.update((owner, token) for token in tokens)
        if len(counts.tokens) > room * SLACK:
            self._gone.update((owner, token) for token in counts.forget_rare(room))

    def load(self, owners: dict[int, Counts]) -> None:
        """Take over what was written down, before anything is learnt."""
        self.owners.update(owners)

    def take_changes(self) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]], list[tuple[int, int]]]:
        """What `schema.write` takes, of all changes since the last call."""
        totals = [(owner, self.owners[owner].spam, self.owners[owner].ham) for owner in self._totals]
        rows = [
            (owner, token, packed)
            for owner, token in self._touched
            if (packed := self.owners[owner].tokens.get(token)) is not None
        ]
        gone = [(owner, token) for owner, token in self._gone if token not in self.owners[owner].tokens]
        self._totals, self._touched, self._gone = set(), set(), set()
        return totals, rows, gone
