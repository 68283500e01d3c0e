"""The whole appliance killed under load at random moments, with and without the page cache: nothing promised is lost.

See README.md for the long form.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.store import Store
from appliance.store.queue import list_queue
from tests.crash.holdsync import PowerCut, build
from tests.e2e.appliance_process import ACCOUNTS
from tests.faults.ledger import Ledger, number_of
from tests.faults.nexthop import NextHop, Taken
from tests.faults.target import Target
from tests.faults.traffic import (
    ANA,
    FRIEND,
    LUIS,
    NOWHERE,
    OUTSIDE,
    Imap,
    Shelf,
    contents,
    everything,
    mailbox_names,
    shelved,
)

ROUNDS = int(os.environ.get("PALOMAR_CRASH_ROUNDS", "10"))
POWER_CUTS = int(os.environ.get("PALOMAR_POWER_CUTS", "3"))
MOST_POWER_CUTS = POWER_CUTS + 40  # it goes on until one of them took something
LEAST = 20  # messages promised before a kill: less would be no load
LONGEST_S = 1.0  # of load before the kill
SYNC_US = 2000  # that a sync takes where power is cut, as on a card; else nothing would be unsynced at the kill
KEPT = 20  # messages of each mailbox that stay from one round to the next
LIMIT_S = 60  # for one question to the appliance


def lukewarm(taken: Taken) -> str:
    """A next hop that takes what ends in an even digit and defers the rest."""
    number = taken.raw.split(b"\r\n", 20)
    even = any(line.startswith(b"X-Number: ") and line[-1:] in b"02468" for line in number)
    return "250 2.0.0 Ok" if even else "451 4.3.0 Not now"


@dataclass
class Office:
    """The appliance with its books. `cut`: run it where what is not synced may be lost."""

    target: Target
    hop: NextHop
    chance: random.Random
    library: Path | None = None
    ledger: Ledger = field(default_factory=Ledger)
    shelf: Shelf = field(default_factory=Shelf)
    lost: int = 0  # blocks and names that power cuts took
    promises: int = 0  # of all rounds, those that have left by now too
    _cuts: int = 0
    _cut: PowerCut | None = None

    @property
    def data(self) -> Path:
        return self.target.folder / "data"

    def start(self, *, wait: bool = True) -> None:
        if self.library is not None:
            self._cuts += 1
            log = self.target.folder / f"holdsync{self._cuts}"
            self._cut = PowerCut(self.library, self.data, log, sync_us=SYNC_US)
            self.target.environment = self._cut.environment({})
        if wait:
            self.target.start()
        else:
            self.target.launch()

    def kill(self) -> None:
        """SIGKILL, and with it the power where that is asked for."""
        self.target.kill()
        if self._cut is not None:
            loss = self._cut.recover(self.chance)
            self.lost += loss.writes + loss.names

    async def round(self) -> None:
        """Load, and a kill in the middle of it."""
        promised, appended = len(self.ledger.promised), self.shelf.last
        load = asyncio.create_task(everything(self.target.ports, self.ledger, self.shelf, self.chance))
        await asyncio.sleep(self.chance.uniform(0.15, LONGEST_S))
        async with asyncio.timeout(LIMIT_S):  # on a machine that is busy it takes longer until there is load
            while not load.done() and (len(self.ledger.promised) <= promised + LEAST or self.shelf.last == appended):
                await asyncio.sleep(0.01)
        await asyncio.to_thread(self.kill)
        await asyncio.wait_for(load, LIMIT_S)
        self.promises += len(self.ledger.promised) - promised

    # ── after it ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def problems(self) -> list[str]:
        """What is wrong with the mailboxes of the running appliance, in words."""
        port = self.target.ports["imap"]
        wrong = []
        for account in ACCOUNTS:
            texts = [text for _, text in await contents(port, account, "INBOX")]
            wrong += self.ledger.problems(account, texts)
        found = await shelved(port)
        wrong += self.shelf.problems(found)
        for number in self.shelf.states:  # doubts are over
            self.shelf.states[number] = (found[number][0][0] if number in found else NOWHERE,)
        there = await mailbox_names(port)
        for name, known in self.shelf.mailboxes.items():
            if known is not None and known is not (name in there):
                wrong.append(f"mailbox {name} is {'gone' if known else 'back'}")
            self.shelf.mailboxes[name] = name in there
        return wrong

    async def queue_problems(self) -> list[str]:
        """The same for what leaves: each message is in the queue of the stopped appliance or at the next hop."""
        store = Store.open(self.data, reserve_bytes=0)
        await store.start()
        try:
            entries = await store.read(lambda db: list_queue(db, limit=1_000_000))
            queued = [bytes(await store.load(message.body_id)) for message, _ in entries]
        finally:
            await store.close()
        assert all(str(entry.recipient.address) == FRIEND for _, entry in entries)
        twice = len(queued) - len(set(queued))
        wrong = [f"{twice} messages are queued twice"] if twice else []
        taken, self.hop.messages = [one.message for one in self.hop.messages], []
        wrong += self.ledger.problems(OUTSIDE, queued + taken, doubles=True)
        for text in taken:  # what has left need not be there again
            self.ledger.promised.discard((number_of(text), OUTSIDE))
            self.ledger.doubtful.add((number_of(text), OUTSIDE))
        return wrong

    async def clear_away(self) -> None:
        """Remove most of what has been verified: it must not come back either."""
        for account in ACCOUNTS:
            client = await Imap.login(self.target.ports["imap"], account)
            await client.command("SELECT INBOX")
            said = await client.command("UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (X-Number)]")
            numbers = [int(line[10:]) for line in said.split(b"\r\n") if line.startswith(b"X-Number: ")][:-KEPT]
            if numbers:
                await client.command(f"STORE 1:{len(numbers)} +FLAGS.SILENT (\\Deleted)")
                self.ledger.maybe_gone |= {(number, account) for number in numbers}
                await client.command("EXPUNGE")
                for number in numbers:
                    self.ledger.remove(number, account)
            client.close()

    def survives(self, rounds: int, *, until: Callable[[], bool] = lambda: True, most: int = 0) -> None:
        """So many rounds, and `most` at most until something is so; fails with everything that is wrong after one."""
        self.start()
        for number in range(1, max(rounds, most) + 1):
            if number > rounds and until():
                break
            asyncio.run(self.round())
            if number % 3 == 0:
                self._killed_while_it_starts()
            said = f"round {number} of {rounds}, {len(self.ledger.promised)} promises"
            wrong = asyncio.run(self.queue_problems())
            self.start()
            wrong += asyncio.run(self.problems())
            assert not wrong, f"{said}:\n" + "\n".join(wrong[:20])
            asyncio.run(self.clear_away())
        assert self.target.stop() == 0

    def _killed_while_it_starts(self) -> None:
        """A start is no time at which it may not be killed."""
        self.start(wait=False)
        time.sleep(self.chance.uniform(0.1, 0.6))
        self.kill()


Make = Callable[..., Office]


@pytest.fixture
def office(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Makes the appliance and its next hop; both are ended with the test."""

    def make(library: Path | None = None) -> Office:
        hop = NextHop(answer=lukewarm)
        hop.__enter__()
        request.addfinalizer(lambda: hop.__exit__())
        target = Target(
            tmp_path / "office",
            top='relay_networks = ["127.0.0.0/8"]\n',  # the senders need no logins, which would take their time
            zone="outside MX 10 mx.outside\nmx.outside A 127.0.0.1\n",
            tables={"relay": f"port = {hop.port}\ntls = 'off'\n", "pop3": "takeover_after = 1\nmark_seen = false\n"},
        )
        target.add_accounts(*ACCOUNTS)
        request.addfinalizer(target.kill)
        seed = random.SystemRandom().randrange(1 << 30)
        print(f"seed {seed}")
        request.addfinalizer(lambda: print(target.log.read_text()[-4000:]))  # shown when the test has failed
        return Office(target, hop, random.Random(seed), library)

    return make


def test_nothing_promised_is_lost_by_a_kill(office: Make) -> None:
    made = office()
    made.survives(ROUNDS)
    assert made.promises > LEAST * ROUNDS  # there was load
    for place in (ANA, LUIS, OUTSIDE):
        assert any(where == place for _, where in made.ledger.promised | made.ledger.doubtful), place
    assert len(made.shelf.states) >= ROUNDS


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("holdsync"))


def test_nothing_promised_is_lost_by_a_power_cut(office: Make, library: Path) -> None:
    made = office(library)
    made.survives(POWER_CUTS, until=lambda: made.lost > 0, most=MOST_POWER_CUTS)
    assert made.lost > 0, "no power cut took anything: this has proved nothing"


@pytest.mark.slow
def test_a_hundred_kills(office: Make) -> None:
    office().survives(100)


@pytest.mark.slow
def test_a_hundred_power_cuts(office: Make, library: Path) -> None:
    made = office(library)
    made.survives(100)
    assert made.lost > 0


def test_the_books_notice_what_is_wrong() -> None:
    """The instrument itself: each kind of harm is seen."""
    ledger = Ledger()
    made = [ledger.make(500) for _ in range(5)]
    numbers = [number for number, _ in made]
    ledger.promised = {(number, ANA) for number in numbers[:3]}
    ledger.refused = {(numbers[3], ANA)}
    ledger.doubtful = {(numbers[4], ANA)}
    good = [b"Return-Path: <a@outside.test>\r\nReceived: from a\r\n\tby b\r\n" + text for _, text in made]
    assert ledger.problems(ANA, good[:3]) == []
    assert ledger.problems(ANA, [*good[:3], good[4]]) == []
    assert ledger.problems(ANA, good[:2]) == [f"{ANA}: {numbers[2]} is lost"]
    harms: Sequence[list[bytes]] = (
        [*good[:3], good[0]],
        [*good[:3], good[3]],
        [good[0][:-3] + b"\r\n", *good[1:3]],
        [b"X-Evil: 1\r\n" + good[0], *good[1:3]],
        [*good[:3], b"Subject: who?\r\n\r\n"],
    )
    for harm in harms:
        assert len(ledger.problems(ANA, harm)) == 1, harm
    ledger.remove(numbers[0], ANA)
    assert ledger.problems(ANA, good[1:3]) == []
    assert len(ledger.problems(ANA, good[:3])) == 1
