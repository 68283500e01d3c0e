"""New mail: many messages at once into mailboxes and the queue, with few statements. Runs on the writer thread.

A message may come out of the queue itself: then its entries there are settled with it, so that it is filed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import msgspec

from appliance.errors import NotFoundError, QuotaError, StoreError
from appliance.mail.envelope import Envelope
from appliance.store.accounts import quota_left
from appliance.store.bodies import PreparedBody
from appliance.store.database import Database, json_list
from appliance.store.mailboxes import filing_target, keyword_bits, take_uids
from appliance.store.model import SEEN, Accepted, Filed, Filing, QueueWish
from appliance.store.quarantine import judged_rows
from appliance.store.queue import entry_rows, queued_row, settle, terms_row, via_rows
from appliance.store.saved import SAME_S, note_saved

_COLUMNS = {
    "body": 12, "extent": 4, "filing": 4, "message": 8, "queued": 11, "queue_entry": 14, "queue_terms": 6,
    "queue_via": 2, "queue_judged": 4,
}  # fmt: skip
# Rows of one statement: every statement lets go of the interpreter and has to win it back. Few lengths, so that
# SQLite compiles few statements.
_LENGTHS = (32, 8, 4, 2, 1)
_ADD = {
    (table, length): f"INSERT INTO {table} VALUES " + ", ".join([f"({', '.join('?' * columns)})"] * length)
    for table, columns in _COLUMNS.items()
    for length in _LENGTHS
}


class Deposit(msgspec.Struct, frozen=True):
    """One message to store: where it is filed, and for whom it is queued; `settles` are the entries it ends."""

    body: PreparedBody
    internal_at: int
    filings: Sequence[Filing] = ()
    wishes: Sequence[QueueWish] = ()
    envelope: Envelope | None = None  # needed if there are wishes
    trace_id: str = ""
    settles: Sequence[int] = ()


class _Target(msgspec.Struct):
    """What one group puts into one mailbox."""

    mailbox_id: int
    account_id: int
    count: int = 0
    unseen: int = 0
    octets: int = 0
    next_uid: int = 0
    modseq: int = 0
    flags: list[int] = msgspec.field(default_factory=list)


class _Rows(msgspec.Struct):
    bodies: list[tuple[object, ...]] = msgspec.field(default_factory=list)
    extents: list[tuple[int, int, int, int]] = msgspec.field(default_factory=list)
    filings: list[tuple[int, int, int, bytes]] = msgspec.field(default_factory=list)
    messages: list[tuple[int, ...]] = msgspec.field(default_factory=list)
    queued: list[tuple[object, ...]] = msgspec.field(default_factory=list)
    entries: list[tuple[object, ...]] = msgspec.field(default_factory=list)
    terms: list[tuple[object, ...]] = msgspec.field(default_factory=list)
    vias: list[tuple[object, ...]] = msgspec.field(default_factory=list)
    judged: list[tuple[object, ...]] = msgspec.field(default_factory=list)
    saved: list[tuple[int, int]] = msgspec.field(default_factory=list)  # mailbox id and uid


class _Group:
    """The work of one call: targets are looked up and counted first, so that each mailbox is written once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._targets: dict[tuple[int, str], _Target] = {}
        self._left: dict[int, int | None] = {}  # account → octets its quota leaves
        self._settled: set[int] = set()
        self.rows = _Rows()

    def admit(self, deposit: Deposit) -> list[tuple[_Target, int]]:
        """The target and flags of each filing. Raises NotFoundError, QuotaError, StoreError: nothing counts then."""
        self._check_waiting(deposit.settles)
        found = []
        needed: dict[int, int] = {}
        for filing in deposit.filings:
            target = self._target(filing)
            flags = filing.flags
            if filing.keywords:
                flags |= keyword_bits(self._db, target.mailbox_id, filing.keywords)
            found.append((target, flags))
            size = deposit.body.size + len(filing.prefix)
            needed[filing.account_id] = needed.get(filing.account_id, 0) + size
        for account_id, octets in needed.items():
            left = self._left[account_id]
            if left is not None and octets > left:
                raise QuotaError(f"account {account_id} would pass its quota")
        for account_id, octets in needed.items():
            left = self._left[account_id]
            if left is not None:
                self._left[account_id] = left - octets
        for (target, flags), filing in zip(found, deposit.filings, strict=True):
            target.flags.append(flags)
            target.count += 1
            target.unseen += not flags & SEEN
            target.octets += deposit.body.size + len(filing.prefix)
        self._settled.update(deposit.settles)
        return found

    def _check_waiting(self, entry_ids: Sequence[int]) -> None:
        """Raise NotFoundError unless all these entries are still in the queue."""
        if not entry_ids:
            return
        (waiting,) = self._db.execute(
            "SELECT count(*) FROM queue_entry WHERE id IN (SELECT value FROM json_each(?))", (json_list(entry_ids),)
        ).fetchone()
        if waiting < len(entry_ids) or not self._settled.isdisjoint(entry_ids):
            raise NotFoundError("its entry is not in the queue any more: it was delivered, or removed")

    def reserve(self) -> None:
        """Take the uids, once per mailbox, and note the change."""
        for target in self._targets.values():
            if not target.count:
                continue
            first, target.modseq, _ = take_uids(
                self._db, target.mailbox_id, target.count, unseen=target.unseen, octets=target.octets
            )
            target.next_uid = first
            uids = tuple(range(first, first + target.count))
            flags = tuple(zip(uids, target.flags, strict=True))
            self._db.changed(target.mailbox_id, target.account_id, target.modseq, added=uids, flags=flags)

    def add(self, deposit: Deposit, places: Sequence[tuple[_Target, int]]) -> Accepted:
        """Make the rows of one message."""
        db, rows, body = self._db, self.rows, deposit.body
        body_id = db.next_body_id
        db.next_body_id += 1
        filed = []
        for filing, (target, flags) in zip(deposit.filings, places, strict=True):
            filing_id = db.next_filing_id
            db.next_filing_id += 1
            uid = target.next_uid
            target.next_uid += 1
            size = body.size + len(filing.prefix)
            rows.filings.append((filing_id, 1, body_id, filing.prefix))
            rows.messages.append(
                (target.mailbox_id, uid, flags, target.modseq, size, deposit.internal_at, body_id, filing_id)
            )
            if abs(db.now - deposit.internal_at) > SAME_S:
                rows.saved.append((target.mailbox_id, uid))
            filed.append(Filed(target.account_id, target.mailbox_id, uid))
        segment, position = (body.extent.segment, body.extent.position) if body.extent else (None, None)
        refs = len(filed) + bool(deposit.wishes)
        rows.bodies.append(
            (body_id, refs, body.codec, body.text_size, segment, position, body.stored, *body.described, body.text)
        )
        if body.extent is not None:
            rows.extents.append((body.extent.segment, body.extent.position, body.stored, body_id))
        if not deposit.wishes:
            return Accepted(body_id, tuple(filed))
        if deposit.envelope is None:
            raise StoreError("queued mail needs an envelope")
        envelope = deposit.envelope
        rows.queued.append(queued_row(body_id, envelope, body.size, db.now, deposit.trace_id))
        rows.entries += entry_rows(body_id, deposit.wishes, max(db.now, envelope.release_at))
        if (terms := terms_row(body_id, envelope)) is not None:
            rows.terms.append(terms)
        rows.vias += via_rows(body_id, deposit.wishes)
        rows.judged += judged_rows(body_id, deposit.wishes)
        return Accepted(body_id, tuple(filed), body_id)

    def write(self) -> None:
        """Insert all rows; then the entries go that are settled by it."""
        rows = self.rows
        self._insert("body", rows.bodies)
        self._insert("extent", rows.extents)
        self._insert("filing", rows.filings)
        self._insert("message", rows.messages)
        self._insert("queued", rows.queued)
        self._insert("queue_entry", rows.entries)
        self._insert("queue_terms", rows.terms)
        self._insert("queue_via", rows.vias)
        self._insert("queue_judged", rows.judged)
        for mailbox_id, uid in rows.saved:
            note_saved(self._db, mailbox_id, uid, uid, self._db.now)
        if self._settled:
            settle(self._db, self._settled)

    def _insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        start, left = 0, len(rows)
        while left:
            length = next(length for length in _LENGTHS if length <= left)
            self._db.execute(_ADD[table, length], list(chain.from_iterable(rows[start : start + length])))
            start, left = start + length, left - length

    def _target(self, filing: Filing) -> _Target:
        key = (filing.account_id, filing.mailbox)
        target = self._targets.get(key)
        if target is None:
            mailbox_id, quota_bytes = filing_target(self._db, *key)
            target = self._targets[key] = _Target(mailbox_id, filing.account_id)
            if filing.account_id not in self._left:
                self._left[filing.account_id] = quota_left(self._db, filing.account_id) if quota_bytes else None
        return target


def deposit_group(db: Database, deposits: Sequence[Deposit]) -> list[Accepted | StoreError]:
    """Store messages; each gets its own answer. One that has no account or no quota left does not stop the others."""
    group = _Group(db)
    answers: list[Accepted | StoreError] = []
    admitted: list[tuple[int, Deposit, list[tuple[_Target, int]]]] = []
    for index, deposit in enumerate(deposits):
        try:
            admitted.append((index, deposit, group.admit(deposit)))
            answers.append(NotFoundError(""))  # replaced below, when its uids are known
        except StoreError as error:
            answers.append(error)
    group.reserve()
    for index, deposit, places in admitted:
        answers[index] = group.add(deposit, places)
    group.write()
    return answers
