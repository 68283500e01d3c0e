"""The hooks and the service: compares mail with what was learnt, and learns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.core import Core
from appliance.errors import NotFoundError, StoreError
from appliance.flusher import Flusher
from appliance.hookspecs import Service, StatusLine, hookimpl
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.mail.session import Session
from appliance.store import Account, MessageRow
from appliance.store.messages import list_rows
from plugins.spam.bayes.config import BayesConfig
from plugins.spam.bayes.memory import Memory
from plugins.spam.bayes.protocol_classifier import STRONGEST, Counts, Verdict, classify
from plugins.spam.bayes.protocol_tokens import tokens_of
from plugins.spam.bayes.schema import BASE, MIGRATIONS, read, write

DAY_S = 86_400
NAME, OWN = "bayes", "bayes.own"
JUNK = "Junk"
MAX_MOVED = 200  # messages of one move that are learnt; those after them are not
MAX_RECENT = 64  # messages between their score and their judgement
LARGE = 256 * 1024  # octets of a text from which a thread reads it
UNSURE = 0.2  # of STRONGEST, either way
ZONE_NAMES = ("header", "subject", "text", "shape", "links")


@dataclass(slots=True)
class Recent:
    """A message that is being judged."""

    envelope: Envelope  # held, so that no other can have its place in memory
    tokens: set[int]
    finding: Finding
    verdict: Verdict
    learnt: bool = False


class Bayes:
    """What the base says of a message, and what an account's own moves change about it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._memory = Memory()
        self._recent: OrderedDict[int, Recent] = OrderedDict()
        self._today = (0, {True: 0, False: 0})  # a day, and what was learnt by itself in it
        core.store.soft.add(MIGRATIONS)

    # ── judging ───────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def score_message(
        self, session: Session, envelope: Envelope, message: Message, texts: Sequence[str] = ()
    ) -> Sequence[Finding] | None:
        """Compare a stranger's message with the base."""
        if not self._core.intake.router.from_outside(session):
            return None
        large = len(message.text) > LARGE  # its parts take time to find, whatever is looked at in them
        tokens = await asyncio.to_thread(tokens_of, message, texts) if large else tokens_of(message, texts)
        verdict = classify(tokens, self._memory.base)
        finding = self._finding(NAME, verdict, self._score(verdict, self._memory.base))
        self._recent[id(envelope)] = Recent(envelope, tokens, finding, verdict)
        while len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)
        return [finding]

    @hookimpl
    async def score_recipient(
        self, session: Session, envelope: Envelope, account: Account | None, message: Message
    ) -> Sequence[Finding] | None:
        """Say by how much the account's own moves change what the base says."""
        own = self._memory.owners.get(account.id) if account is not None else None
        recent = self._recent.get(id(envelope))
        if own is None or recent is None or not own.spam + own.ham:
            return None
        verdict = classify(recent.tokens, self._memory.base, own)
        change = self._score(verdict, self._memory.base, own) - recent.finding.score
        return [self._finding(OWN, verdict, change)] if abs(change) >= 0.1 else None

    def _score(self, verdict: Verdict, base: Counts, own: Counts | None = None) -> float:
        """The weight of a strength: nothing while too little is learnt."""
        config = self._core.settings[BayesConfig]
        spam, ham = base.spam + (own.spam if own else 0), base.ham + (own.ham if own else 0)
        return 0.0 if min(spam, ham) < config.minimum else weight(verdict.strength, config)

    def _finding(self, name: str, verdict: Verdict, score: float) -> Finding:
        part = verdict.strength / STRONGEST
        result = "spam" if part > UNSURE else "ham" if part < -UNSURE else "unsure"
        evidence = ", ".join(f"{zone} {value:+.1f}" for zone, value in zip(ZONE_NAMES, verdict.zones, strict=True))
        text = {"spam": "looks like spam that was learnt", "ham": "looks like wanted mail that was learnt"}
        return Finding(name, result, round(score, 2), text.get(result, "looks like nothing much"), evidence=evidence)

    @hookimpl(tryfirst=True)
    async def judge_recipient(self, findings: Sequence[Finding]) -> None:
        """Learn what other checks are sure of; the judgement is the judge's."""
        mine = next((one for one in findings if one.name == NAME), None)
        recent = next((one for one in reversed(self._recent.values()) if one.finding is mine), None)
        if recent is None or recent.learnt:
            return
        config = self._core.settings[BayesConfig]
        others = sum(one.score for one in findings if one.name not in (NAME, OWN))
        if 0 < config.learn_spam_score <= others and self._may_learn(spam=True):
            recent.learnt = True
            self._learn(BASE, recent.tokens, spam=True)
        elif others <= config.learn_ham_score < 0 and self._may_learn(spam=False):
            recent.learnt = True
            self._learn(BASE, recent.tokens, spam=False)

    def _may_learn(self, *, spam: bool) -> bool:
        day, counts = self._today
        if day != self._day():
            counts = {True: 0, False: 0}
            self._today = (self._day(), counts)
        counts[spam] += 1
        return counts[spam] <= self._core.settings[BayesConfig].learn_per_day

    # ── learning ──────────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def message_moved(self, account: str, source: str, target: str, uids: Sequence[int]) -> None:
        """Learn from what a person put into Junk, or took out of it."""
        if (source == JUNK) == (target == JUNK) or "Trash" in (source, target):
            return
        found = self._core.store.directory.account(account)
        mailbox = self._core.store.mailbox(found.id, target) if found is not None else None
        if found is None or mailbox is None:
            return
        place = mailbox.id
        for uid in uids[:MAX_MOVED]:
            rows = await self._core.store.read(lambda db, uid=uid: list_rows(db, place, uid - 1, uid))  # type: ignore[misc]
            for row in rows:
                await self._learn_row(found.id, MessageRow(*row), spam=target == JUNK)

    async def _learn_row(self, owner: int, row: MessageRow, *, spam: bool) -> None:
        try:
            message = await self._core.store.load(row.body_id)
        except (NotFoundError, StoreError):
            return  # expunged meanwhile, or damaged, which the store has logged
        await self._learn_message(owner, message, spam=spam)

    @hookimpl
    async def message_released(self, account: str, message: Message) -> None:
        """Learn from what a person let out of quarantine."""
        if (found := self._core.store.directory.account(account)) is not None:
            await self._learn_message(found.id, message, spam=False)

    async def _learn_message(self, owner: int, message: Message, *, spam: bool) -> None:
        tokens = await asyncio.to_thread(tokens_of, message)
        self._learn(BASE, tokens, spam=spam)
        self._learn(owner, tokens, spam=spam)

    def _learn(self, owner: int, tokens: set[int], *, spam: bool) -> None:
        config = self._core.settings[BayesConfig]
        room = config.max_tokens if owner == BASE else config.max_own_tokens
        self._memory.learn(owner, tokens, spam=spam, day=self._day(), room=room)

    def _day(self) -> int:
        return int(self._core.now() // DAY_S)

    # ── what commands ask ─────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What `palomar bayes` asks."""
        return [("bayes.train", self._train), ("bayes.status", self._status)]

    async def _train(self, core: Core, *, messages: list[list[int]], spam: bool, account: str = "") -> int:
        """Learn messages whose tokens the command has made. Other work goes on between two of them."""
        owner = self._owner(account)
        for tokens in messages:
            self._learn(owner, {int(token) for token in tokens}, spam=spam)
            await asyncio.sleep(0)
        return len(messages)

    async def _status(self, core: Core) -> list[dict[str, Any]]:
        names = {BASE: "(all)"}
        for owner in self._memory.owners:
            if owner != BASE and (found := core.store.directory.account_by_id(owner)) is not None:
                names[owner] = found.name
        return [
            {"account": names[owner], "spam": one.spam, "ham": one.ham, "tokens": len(one.tokens)}
            for owner, one in self._memory.owners.items()
            if owner in names
        ]

    def _owner(self, account: str) -> int:
        return self._core.store.directory.require_account(account).id if account else BASE

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """What writes down what was learnt."""
        return [Flusher("spam.bayes", self.load, self.flush)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """How much was learnt."""
        base, minimum = self._memory.base, core.settings[BayesConfig].minimum
        words = f"{base.spam} spam and {base.ham} other messages learnt, {len(base.tokens)} tokens"
        silent = f"; silent until {minimum} of each are" if min(base.spam, base.ham) < minimum else ""
        return [("Bayes", words + silent)]

    async def load(self) -> None:
        """Read what the run before has learnt."""
        self._memory.load(await self._core.store.soft.read(read) or {})

    async def flush(self) -> None:
        """Write down what has changed."""
        totals, rows, gone = self._memory.take_changes()
        if totals:
            await self._core.store.soft.write(lambda db: write(db, totals, rows, gone))


def weight(strength: float, config: BayesConfig) -> float:
    """The score of a strength: in proportion, the full weight at four fifths of the strongest."""
    part = min(1.0, abs(strength) / STRONGEST / 0.8)
    return part * (config.spam_score if strength > 0 else config.ham_score)
