"""What a killed store has promised, and whether it kept its word."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from appliance.store import Store
from appliance.store.messages import list_rows
from appliance.store.model import MessageRow
from tests.appliance.store.invariants import check_invariants
from tests.crash.storing import PREFIX, number_of, octets_of


@dataclass(slots=True)
class Ledger:
    """The promises of all runs so far. `hear` the lines of a run, then `settle` after the crash."""

    places: dict[tuple[int, int], int] = field(default_factory=dict)  # (mailbox, uid) → number
    queued: dict[int, int] = field(default_factory=dict)  # queue id → number
    unsure_places: set[tuple[int, int]] = field(default_factory=set)  # a move or removal was on the way
    unsure_queued: set[int] = field(default_factory=set)
    gone: set[tuple[int, int]] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    mailboxes: tuple[int, ...] = ()
    promises: int = 0
    failures: int = 0

    def hear(self, line: str) -> None:
        """One line of the run."""
        match line.split():
            case ["mailboxes", *ids]:
                self.mailboxes = tuple(map(int, ids))
            case ["stored", number, mailbox, uid]:
                assert (int(mailbox), int(uid)) not in self.places, "a uid was given twice"
                self.places[int(mailbox), int(uid)] = int(number)
                self.promises += 1
            case ["queued", number, queue_id]:
                self.queued[int(queue_id)] = int(number)
            case ["would", "move" | "remove", mailbox, uid]:
                self.unsure_places.add((int(mailbox), int(uid)))
            case ["gone", mailbox, uid]:
                self.gone.add((int(mailbox), int(uid)))
            case ["would", "settle", queue_id]:
                self.unsure_queued.add(int(queue_id))
            case ["settled", queue_id]:
                self.settled.add(int(queue_id))
            case ["failed", *_]:
                self.failures += 1
            case _:
                raise AssertionError(f"what does it say? {line}")

    async def settle(self, folder: Path) -> None:
        """Open the store as after a power cut, hold it to its word, and take over what it has now."""
        store = Store.open(folder, reserve_bytes=0)
        await store.start()
        try:
            await store.read(check_invariants)
            found = await self._found(store)
            self._check_mailboxes(found)
            self._check_numbers(found)
            await self._check_queue(store)
            await store.tidy(everything=True)
            assert await self._found(store) == found  # compaction changes nothing that can be seen
            await store.read(check_invariants)
            self.places = found
            self.gone, self.unsure_places, self.unsure_queued, self.settled = set(), set(), set(), set()
        finally:
            await store.close()

    async def _found(self, store: Store) -> dict[tuple[int, int], int]:
        """Every message of every mailbox, read and compared."""
        found = {}
        for mailbox in self.mailboxes:
            rows = [MessageRow(*row) for row in await store.read(lambda db, box=mailbox: list_rows(db, box))]  # type: ignore[misc]
            for start in range(0, len(rows), 100):
                part = rows[start : start + 100]
                for row, message in zip(part, await store.load_many(part), strict=True):
                    number = number_of(message)
                    assert bytes(message) == PREFIX + octets_of(number), f"message {number} is damaged"
                    found[mailbox, row.uid] = number
        return found

    def _check_mailboxes(self, found: dict[tuple[int, int], int]) -> None:
        for place, number in self.places.items():
            if place in self.gone:
                assert place not in found, f"message {number} came back"
            elif place not in self.unsure_places:
                assert found.get(place) == number, f"message {number} was promised at {place} and is not there"

    def _check_numbers(self, found: dict[tuple[int, int], int]) -> None:
        numbers = list(found.values())
        assert len(numbers) == len(set(numbers)), "a message is there twice"

    async def _check_queue(self, store: Store) -> None:
        rows = await store.read(lambda db: db.execute("SELECT id, body_id, trace_id FROM queued").fetchall())
        there = {queue_id: int(trace_id) for queue_id, _, trace_id in rows}
        for queue_id, number in self.queued.items():
            if queue_id in self.settled:
                assert there.get(queue_id) != number, f"settled message {number} is queued again"
            elif queue_id not in self.unsure_queued:
                assert there.get(queue_id) == number, f"queued message {number} is lost"
        for _, body_id, trace_id in rows:
            assert bytes(await store.load(body_id)) == octets_of(int(trace_id))
        self.queued = there
