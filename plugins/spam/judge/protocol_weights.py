"""What moves to and from Junk say of checks: a factor on the score of each, which sinks where it was wrong. Pure.

One account counts for little: whoever moves everything out of Junk takes at most half of a check's weight from the
others, however often it happens.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from appliance.mail.finding import Finding
from appliance.mail.headers import scan_fields, unfold

BENEFIT = 20  # messages for which a check is taken to have been right before anybody has said anything
CAP = 20  # messages of one account that count for one check; newer ones take the place of those of the other kind
FLOOR = 0.1  # of the score, which is always left
MAX_PAIRS = 20_000  # of a check and an account; those that were noted first go first
MAX_KEY = 60  # characters

# What people have decided themselves is no guess that could be wrong.
FIXED = frozenset({"lists"})

Row = tuple[str, int, int, int]  # a check, an account's id, how often it was right and wrong there

_NOT_IN_KEYS = re.compile(r"[^A-Z0-9_.-]+")
_TEST = re.compile(r"([A-Z0-9_.-]{1,60})=(-?\d{1,4}\.\d\d)\b", re.ASCII)


def key_of(finding: Finding) -> str:
    """The name of a check with its result, as it stands in X-Spam-Status."""
    return _key(finding.name, finding.result)


@functools.lru_cache(maxsize=1024)  # the same few come again and again
def _key(name: str, result: str) -> str:
    return _NOT_IN_KEYS.sub("_", f"{name}_{result}".upper())[:MAX_KEY]


def is_fixed(finding: Finding) -> bool:
    """Whether experience changes nothing about it: what acts alone (a virus, a policy), and people's own lists."""
    return finding.action is not None or finding.absence == "defer" or finding.name in FIXED


def read_tests(header: bytes) -> dict[str, float]:
    """The checks that stand in the X-Spam-Status of a filing, with their scores. `header` is our own lines only."""
    for field in scan_fields(header):
        if field.name == b"x-spam-status":
            _, _, tests = unfold(field.value).decode("ascii", "replace").partition("tests=")
            return {key: float(score) for key, score in _TEST.findall(tests)}
    return {}


class Weights:
    """The counts, in memory, and what is to be written of them."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], tuple[int, int]] = {}  # right, wrong
        self._touched: set[tuple[str, int]] = set()
        self._factors: dict[str, float] | None = {}

    def note(self, account_id: int, tests: dict[str, float], *, spam: bool) -> None:
        """An account says of a message whether it is spam: checks that said so were right, others were wrong."""
        for key, score in tests.items():
            if score:
                self._note(key, account_id, right=(score > 0) is spam)

    def _note(self, key: str, account_id: int, *, right: bool) -> None:
        pair = key, account_id
        good, bad = self._counts.pop(pair, (0, 0))
        mine, other = (good, bad) if right else (bad, good)
        if mine + other >= CAP:
            other = max(other - 1, 0)
        mine = min(mine + 1, CAP - other)
        self._counts[pair] = (mine, other) if right else (other, mine)
        self._touched.add(pair)
        self._factors = None
        while len(self._counts) > MAX_PAIRS:
            gone = next(iter(self._counts))
            del self._counts[gone]
            self._touched.add(gone)

    def factor(self, finding: Finding) -> float:
        """By what the score of a finding is multiplied: 1 for most."""
        factors = self._all()
        return factors.get(key_of(finding), 1.0) if factors and not is_fixed(finding) else 1.0

    def weigh(self, findings: Sequence[Finding]) -> tuple[Sequence[Finding], Sequence[float]]:
        """The findings with the scores that experience leaves them, and the factors; none where nothing is known."""
        if not self._all():
            return findings, ()
        factors = [self.factor(finding) for finding in findings]
        return [
            one if factor == 1 else replace(one, score=one.score * factor)
            for one, factor in zip(findings, factors, strict=True)
        ], factors

    def totals(self) -> dict[str, tuple[int, int]]:
        """How often each check was right and wrong, over all accounts."""
        found: dict[str, tuple[int, int]] = {}
        for (key, _), (right, wrong) in self._counts.items():
            before = found.get(key, (0, 0))
            found[key] = before[0] + right, before[1] + wrong
        return found

    def forget(self, keys: Iterable[str] | None = None) -> int:
        """Give checks their whole weight back, all of them or those named. Returns how many."""
        wanted = None if keys is None else set(keys)
        gone = [pair for pair in self._counts if wanted is None or pair[0] in wanted]
        for pair in gone:
            del self._counts[pair]
        self._touched.update(gone)
        self._factors = None
        return len({key for key, _ in gone})

    def load(self, rows: Iterable[Row]) -> None:
        """Take over what was written down before."""
        self._counts.update({(key, account_id): (right, wrong) for key, account_id, right, wrong in rows})
        self._factors = None

    def take_changes(self) -> tuple[list[Row], list[tuple[str, int]]]:
        """Rows that changed since the last call, and pairs that are gone."""
        touched, self._touched = self._touched, set()
        rows = [(*pair, *self._counts[pair]) for pair in touched if pair in self._counts]
        return rows, [pair for pair in touched if pair not in self._counts]

    def _all(self) -> dict[str, float]:
        if self._factors is None:
            self._factors = {key: factor_of(right, wrong) for key, (right, wrong) in self.totals().items()}
        return self._factors


def factor_of(right: int, wrong: int) -> float:
    """1 for a check that was never wrong, and less in the proportion in which it was."""
    return max(FLOOR, (BENEFIT + right) / (BENEFIT + right + wrong))
