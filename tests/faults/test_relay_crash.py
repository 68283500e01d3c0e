"""Mail on its way out, and the appliance killed at any statement: all of it arrives, and twice only what it must.

A message may arrive again only where its final 250 was cut: the connection broke before it, or the process died before
what it said was on the disk. A plugin notes what is; after the crash nothing of that may be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.controlclient import SocketControl
from tests.crash.holdsync import PowerCut, build
from tests.e2e.appliance_process import wait_for
from tests.faults.ledger import Ledger, number_of
from tests.faults.nexthop import NextHop, Taken
from tests.faults.target import Target
from tests.faults.traffic import OUTSIDE, Broken, smtp_replies
from tests.faults.witness import NAME, Witness

SENDERS = 3
SIZES = (700, 3000, 90_000)  # the last one goes to a segment file
MOST_LINES = 12_000  # of the code that delivers, that a round may live
SYNC_US = 2000  # that a sync takes where power is cut
LIMIT_S = 90
CUT_EVERY = 9  # texts: then the next hop takes one and closes instead of saying so

_ADDRESS = re.compile(r"<n(\d+)@outside\.test>")


def address_of(number: int) -> str:
    return f"n{number}@outside.test"


@dataclass
class Office:
    """The appliance, its next hop that counts, and the books of both."""

    target: Target
    hop: NextHop
    witness: Witness
    library: Path
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    problems: list[str] = field(default_factory=list)
    may_double: set[int] = field(default_factory=set)  # numbers whose 250 was cut
    doubles: int = 0
    at_text: Callable[[int], bool] = lambda _: True  # whether the hop says what it thinks of a message, or closes
    lost: int = 0
    _taken: Counter[int] = field(default_factory=Counter)
    _texts: int = 0
    _settled: set[int] = field(default_factory=set)
    _cuts: int = 0

    def __post_init__(self) -> None:
        self.hop.answer = self._answer

    # ── the next hop ──────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, taken: Taken) -> str:
        number = number_of(taken.message)
        named = {int(match[1]) for recipient in taken.recipients if (match := _ADDRESS.match(recipient))}
        if named != {number}:
            self.problems.append(f"{number} came for {taken.recipients}")
        if not self.at_text(number):
            raise EOFError  # not taken, and no word said
        if number in self._settled:
            self.problems.append(f"{number} came again after its delivery was on the disk")
        if self._taken[number]:
            self.doubles += 1
            if number not in self.may_double:
                self.problems.append(f"{number} came again though its 250 was not cut")
        self._taken[number] += 1
        self.may_double.discard(number)
        self._texts += 1
        if self._texts % CUT_EVERY == 0:
            self.may_double.add(number)
            self.hop.messages.append(taken)
            raise EOFError  # taken, but the 250 is cut
        return "250 2.0.0 Ok"

    # ── a life ────────────────────────────────────────────────────────────────────────────────────────────────────

    def live(self, *, power_cut: bool = False) -> None:
        """Start, send until it is dead, and look at what its death left."""
        cut = None
        if power_cut:
            self._cuts += 1
            log = self.target.folder / f"holdsync{self._cuts}"
            cut = PowerCut(self.library, self.target.folder / "data", log, sync_us=SYNC_US)
        self.target.environment = cut.environment({}) if cut else {}
        self.target.launch()
        asyncio.run(asyncio.wait_for(self._send(), LIMIT_S))
        process = self.target.process
        assert process is not None
        assert process.returncode == -signal.SIGKILL, self.target.log.read_text()[-2000:]
        if cut is not None:
            loss = cut.recover(self.chance)
            self.lost += loss.writes + loss.names
        self._look_back()

    def kill(self) -> None:
        """End the process; whoever was told to wait for that goes on."""
        process = self.target.process
        if process is not None:
            process.send_signal(signal.SIGKILL)

    def _look_back(self) -> None:
        """The process is dead: what it had settled must be at the next hop, the rest may come again."""
        settled = self.settled
        self.problems += [f"{number} was settled without a 250" for number in settled if not self._taken[number]]
        self._settled = settled
        self.may_double |= {number for number in self._taken if number not in settled}

    @property
    def taken(self) -> set[int]:
        """The numbers that the next hop has taken and said so."""
        return set(self._taken) - self.may_double

    @property
    def settled(self) -> set[int]:
        found = self.witness.settled()
        self.problems += [f"{address} is {status}" for address, status in found.items() if status != "delivered"]
        return {int(address[1 : address.index("@")]) for address in found}

    async def _send(self) -> None:
        process = self.target.process
        assert process is not None
        while process.poll() is None:
            await asyncio.gather(*(self._send_one_after_the_other() for _ in range(SENDERS)))
            await asyncio.sleep(0.02)  # it has not opened its port yet, or is about to be gone

    async def _send_one_after_the_other(self) -> None:
        with contextlib.suppress(*Broken):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target.ports["mx"])
            with closing(writer):
                writer.write(b"EHLO [127.0.0.1]\r\n")
                await smtp_replies(reader, 2)
                while True:
                    await self._send_one(reader, writer)

    async def _send_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, text = self.ledger.make(self.chance.choice(SIZES))
        self.ledger.doubtful.add((number, OUTSIDE))
        recipient = address_of(number).encode()
        writer.write(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<%b>\r\nDATA\r\n" % recipient)
        assert await smtp_replies(reader, 3) == [250, 250, 354]
        writer.write(text.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert await smtp_replies(reader, 1) == [250]
        self.ledger.doubtful.discard((number, OUTSIDE))
        self.ledger.promised.add((number, OUTSIDE))

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """A last life in which everything leaves; then all books must agree."""
        self.witness.spare()
        self.at_text = lambda _: True
        self.target.environment = {}
        with self.target:
            wait_for(self._is_empty, "the queue empties", LIMIT_S)
        self._look_back()
        self.problems += self.ledger.problems(OUTSIDE, [taken.message for taken in self.hop.messages], doubles=True)
        assert not self.problems, "\n".join(self.problems[:20])

    def _is_empty(self) -> bool:
        with closing(wait_for(lambda: SocketControl.connect(self.target.folder / "data"), "its control")) as control:
            control.call("queue.retry", where={"everything": True})
            return control.call("queue.count", where={"everything": True}) == 0


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """The appliance and its next hop; both end with the test."""
    with NextHop() as hop:
        witness = Witness(tmp_path / "plugins")
        target = Target(
            tmp_path / "office",
            top='relay_networks = ["127.0.0.0/8"]\n'
            f'plugin_folder = "{witness.folder}"\n'
            f'plugins = ["{NAME}", "mda", "smtp", "imap4", "pop3", "relay"]\n',
            zone="outside MX 10 mx.outside\nmx.outside A 127.0.0.1\n",
            tables={"relay": f"port = {hop.port}\ntls = 'off'\n", "queue": "first_retry = 10\n"},
        )
        (target.folder / "data").mkdir(0o700)
        seed = random.SystemRandom().randrange(1 << 30)
        print(f"seed {seed}")
        yield Office(target, hop, witness, build(tmp_path), random.Random(seed))
        target.kill()
        print(target.log.read_text()[-4000:])  # shown when the test has failed


def die_at_a_statement(office: Office, *, power_cut: bool = False) -> None:
    """Somewhere in the code that takes, sends and settles."""
    office.witness.kill_at(office.chance.randrange(MOST_LINES // 20, MOST_LINES))
    office.live(power_cut=power_cut)
    office.witness.spare()


def die_by_a_power_cut(office: Office) -> None:
    die_at_a_statement(office, power_cut=True)


def die_before_the_reply(office: Office) -> None:
    """The next hop has read a text, and keeps it only if asked again; others are settled meanwhile, this one never."""
    chosen: list[int] = []

    def at_text(number: int) -> bool:
        if chosen or not office.settled:
            return True
        chosen.append(number)
        known = len(office.settled)
        wait_for(lambda: len(office.settled) >= known + 5, "five more are settled", LIMIT_S)
        office.kill()
        return False

    office.at_text = at_text
    office.live()
    office.at_text = lambda _: True
    assert chosen


def die_after_settling(office: Office) -> None:
    """When all that was taken is settled, though nothing new comes: nothing of it may be sent again."""
    chosen: list[int] = []

    def at_text(number: int) -> bool:
        taken = office.taken
        if chosen or len(taken) < 10:
            return True
        chosen.append(number)
        wait_for(lambda: taken <= office.settled, "all that was taken is settled", LIMIT_S)
        office.kill()
        return False

    office.at_text = at_text
    office.live()
    office.at_text = lambda _: True
    assert chosen


DEATHS = (die_at_a_statement, die_before_the_reply, die_after_settling, die_by_a_power_cut)


def survives(office: Office, deaths: Sequence[Callable[[Office], None]]) -> None:
    for die in deaths:
        die(office)
    office.finish()
    assert office.ledger.promised  # there was load


def test_all_arrives_and_twice_only_what_had_its_250_cut(office: Office) -> None:
    survives(office, DEATHS[1:])
    assert office.doubles, "no 250 was cut: this has proved little"


@pytest.mark.slow
def test_all_arrives_after_a_hundred_deaths(office: Office) -> None:
    survives(office, DEATHS * 25)
    assert office.lost > 0, "no power cut took anything: this has proved nothing"
