"""Mailboxes with very many messages: time grows as they do, and nobody else has to wait for one.

What takes too long is told by ratios, and by how often others have their turn, not by the clock. The 500,000 messages
that one mailbox may well have are tried by `pytest -m slow`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.mail.message import Message
from appliance.store.mailboxes import mailbox_by_id
from appliance.store.messages import edit_flags, expunge
from plugins.imap4 import selected as selected_module
from plugins.imap4.enabled import Enabled
from plugins.imap4.selected import Selected
from tests.plugins.imap4.office import ANA, EPOCH, Client, Office, office

MANY = 500_000  # messages
GONE = MANY // 5
GROWTH = 16
SMALL = 600  # messages
AT_MOST = 3 * GROWTH  # times as long; what grows with the square takes GROWTH ** 2
LONGEST_TURN_S = 0.1  # of CPU that the event loop is kept from others, on the slowest of machines
MOST_OCTETS = 400 << 20  # of memory with 500,000 messages

COMMANDS = [
    "SELECT INBOX", "FETCH 1:* (FLAGS UID)", "FETCH 1:* (MODSEQ)", "SEARCH UNSEEN", "UID SEARCH RETURN (ALL) UNSEEN",
    "SEARCH LARGER 200 SENTBEFORE 20-Nov-2023", "SEARCH SUBJECT 77", "SEARCH MODSEQ 5", "SORT (SUBJECT) UTF-8 ALL",
    "SORT (REVERSE ARRIVAL) UTF-8 UNSEEN", "STORE 1:* +FLAGS (\\Flagged)", "CREATE Other", "COPY 1:* Other",
    "STATUS Other (UNSEEN)", "MOVE 1:100 Other", "STORE 1:500 +FLAGS.SILENT (\\Deleted)", "EXPUNGE", "NOOP",
]  # fmt: skip


def letter(number: int) -> Message:
    answers = f"References: <m{number - number % 5}@x.test>\r\n" if number % 5 else ""
    return Message.parse(
        f"From: Person {number % 211} <p{number % 211}@x.test>\r\nSubject: word {number % 977}\r\n"
        f"Date: Tue, {1 + number % 28} Nov 2023 10:00:00 +0100\r\nMessage-ID: <m{number}@x.test>\r\n{answers}\r\n"
        f"A few words, and number{number}x.\r\n".encode()
    )


async def fill(here: Office, count: int) -> None:
    for start in range(0, count, 2_000):
        items = [(letter(number), number % 2, (), EPOCH + number) for number in range(start, min(count, start + 2_000))]
        await here.store.append(here.mailbox_id(), items)


async def cpu_of(folder: Path, count: int) -> list[float]:
    """Seconds of CPU that each command takes with so many messages, all threads of this process together."""
    folder.mkdir()
    async with office(folder, accounts=(ANA,)) as here:
        await fill(here, count)
        client = await here.login()
        taken = []
        for command in COMMANDS:
            started = time.process_time()
            await client.ok(command)
            taken.append(time.process_time() - started)
    return taken


async def test_no_command_takes_longer_than_the_mailbox_grows(tmp_path: Path) -> None:
    small = [await cpu_of(tmp_path / f"small{turn}", SMALL) for turn in range(3)]
    large = [await cpu_of(tmp_path / f"large{turn}", SMALL * GROWTH) for turn in range(2)]
    floor = 0.002  # what any command takes; clocks are no finer
    ratios = {
        command: min(run[place] for run in large) / max(floor, min(run[place] for run in small))
        for place, command in enumerate(COMMANDS)
    }
    assert {command: ratio for command, ratio in ratios.items() if ratio > AT_MOST} == {}


@asynccontextmanager
async def watching(here: Office) -> AsyncIterator[Selected]:
    mailbox = here.store.peek(lambda db: mailbox_by_id(db, here.mailbox_id()))
    assert mailbox is not None
    enabled = Enabled()
    shared = here.shared
    one = Selected(
        here.store, shared.recent, shared.views, mailbox, enabled,
        read_only=False, owner=object(), wake=lambda: None,
    )  # fmt: skip
    await one.open()
    try:
        yield one
    finally:
        one.close()


async def test_others_have_their_turn_while_many_changes_are_told(
    here: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selected_module, "AT_ONCE", 50)
    await fill(here, 1_000)
    inbox = here.mailbox_id()
    async with watching(here) as one:
        await here.store.write(lambda db: edit_flags(db, inbox, [(1, 1_000)], add=4, remove=0))
        turns = await count_turns(one)
        assert turns >= 1_000 / 50
        await here.store.write(lambda db: expunge(db, inbox, range(1, 500), deleted_only=False))
        assert await count_turns(one) >= 2
        assert len(one.view) == 501


async def count_turns(one: Selected) -> int:
    """How often others had their turn while the news were made: nothing of them waits for the store."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert await one.news(expunges=True)
    task.cancel()
    return turns


class LoopWatch:
    """The longest time of CPU that the event loop spent without a turn for others."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.002)
            self.longest = max(self.longest, time.thread_time() - before)


class Reader(Client):
    """Takes answers without looking at them: a line of Python for each would be most of the time."""

    async def discard(self, command: str) -> bytes:
        self.number += 1
        tag = b"t%d " % self.number
        self.send(tag + command.encode() + b"\r\n")
        last = b""
        while not (last.endswith(b"\r\n") and (b"\r\n" + last).rpartition(b"\r\n" + tag)[1]):
            piece = await self.reader.read(1 << 20)
            assert piece, "closed"
            last = (last + piece)[-4096:]
        return (b"\r\n" + last).rpartition(b"\r\n" + tag)[2]


def memory() -> int:
    """Octets of this process, shared pages by their share."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


@pytest.mark.slow
async def test_half_a_million_messages(tmp_path: Path) -> None:
    async with office(tmp_path, accounts=(ANA,)) as here:
        await fill(here, MANY)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "imap.sock"), limit=1 << 22)
        await reader.readline()
        client = Reader(reader, writer)
        await here.login("INBOX")  # another program, which hears nothing: its notices must not pile up
        watch, before = LoopWatch(), memory()
        task = asyncio.create_task(watch.run())
        slow = {}
        await client.discard(f"LOGIN {ANA} palomar")
        for command in [*COMMANDS, f"THREAD REFERENCES UTF-8 1:{GONE}", f"STORE 1:{GONE} +FLAGS.SILENT (\\Deleted)",
                        "EXPUNGE", f"FETCH 1:{GONE} (ENVELOPE)"]:  # fmt: skip
            watch.longest = 0.0
            assert (await client.discard(command)).startswith(b"OK"), command
            if watch.longest > LONGEST_TURN_S:
                slow[command] = round(watch.longest, 3)
        task.cancel()
        await client.close()
        assert slow == {}
        assert memory() - before < MOST_OCTETS
        fresh = await here.login()
        left = MANY - 100 - 500 - GONE
        assert (await fresh.ok("STATUS INBOX (MESSAGES)")) == [b"* STATUS INBOX (MESSAGES %d)" % left]
