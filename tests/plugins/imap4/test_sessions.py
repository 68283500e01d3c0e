"""Several mail programs on one mailbox, in any order of their commands: all end with what the store has."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from appliance.store.mailboxes import keyword_names
from appliance.store.messages import expunge, list_flags, set_flags
from plugins.imap4.view import flag_text
from tests.plugins.imap4.office import Office, office
from tests.plugins.imap4.watching import Cache, Watcher

FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
MESSAGE = b"Subject: x\r\n\r\n"
COMMANDS = (
    "NOOP", "NOOP", "CHECK", "FETCH {set} (FLAGS UID)", "UID FETCH {uids} (FLAGS)", "FETCH {set} (BODY[TEXT])",
    "STORE {set} +FLAGS (\\Seen)", "STORE {set} -FLAGS.SILENT (\\Seen \\Flagged)", "STORE {set} FLAGS (\\Deleted)",
    "UID STORE {uids} +FLAGS.SILENT (\\Deleted)", "UID STORE {uids} FLAGS (\\Flagged one two)", "EXPUNGE",
    "UID EXPUNGE {uids}", "SEARCH SEEN", "UID SEARCH DELETED", "COPY {set} INBOX", "UID COPY {uids} Sent",
    "MOVE {set} Sent", "UID MOVE {uids} INBOX", "FETCH {set} (FLAGS UID MODSEQ)",
    "STORE {set} (UNCHANGEDSINCE {modseq}) +FLAGS (\\Answered)",
    "UID STORE {uids} (UNCHANGEDSINCE {modseq}) -FLAGS.SILENT (\\Answered)",
)  # fmt: skip
Step = tuple[str, int, int, int]  # what, who, which command, and a number that chooses messages
IDLY: Step = ("command", 0, 0, 0)
STEP = st.tuples(
    st.sampled_from(["command", "command", "command", "mail", "flag", "expunge", "again", "delete"]),
    st.integers(0, 2),
    st.integers(0, len(COMMANDS) - 1),
    st.integers(0, 255),
)
STEPS = st.lists(STEP, min_size=1, max_size=25)


class Actors:
    """Three mail programs: one of old, one with CONDSTORE alone at times, one with QRESYNC that leaves and returns."""

    def __init__(self, here: Office, notify: str = "") -> None:
        self.here = here
        self.notify = notify
        self.caches = [Cache(), Cache(), Cache()]
        self.watchers: list[Watcher] = []
        self.uidvalidities: set[int] = set()
        self.delivered = {1, 2, 3, 4, 5}  # UIDs
        self.listed = set(self.delivered)
        self.gone: set[int] = set()

    async def start(self) -> None:
        for place, cache in enumerate(self.caches):
            self.watchers.append(await self.arrive(cache, qresync=place > 0))

    async def arrive(self, cache: Cache, *, qresync: bool) -> Watcher:
        watcher = Watcher(await self.here.login(), cache, qresync=qresync, notify=self.notify)
        await watcher.select("INBOX")
        self.uidvalidities.add(cache.uidvalidity)
        return watcher

    async def step(self, what: str, who: int, which: int, number: int) -> None:
        watcher = self.watchers[who]
        inbox, store = self.here.mailbox_id(), self.here.store
        uids = [uid for uid, _ in store.peek(lambda db: list_flags(db, inbox))]
        chosen = [uid for place, uid in enumerate(uids) if number >> place % 8 & 1]
        match what:
            case "mail":
                given = await self.here.put(*[MESSAGE] * (1 + number % 3))
                assert self.delivered.isdisjoint(given), "a UID was given twice"
                self.delivered.update(given)
            case "flag":
                await store.write(lambda db: set_flags(db, inbox, chosen, replace=number & 31))
            case "expunge":
                await store.write(lambda db: expunge(db, inbox, chosen[:2], deleted_only=False))
            case "delete":
                await store.write(lambda db: set_flags(db, inbox, chosen[:2], add=8))
            case "again":
                # It hangs up without a word, and comes back with what it kept.
                await watcher.client.close()
                self.watchers[who] = await self.arrive(watcher.cache, qresync=watcher.qresync)
            case "command":
                await self.command(watcher, COMMANDS[which], number)
        there = {uid for uid, _ in store.peek(lambda db: list_flags(db, inbox))}
        self.gone |= self.listed - there
        self.listed = there
        assert self.gone.isdisjoint(there), "a UID has come back"

    async def command(self, watcher: Watcher, text: str, number: int) -> None:
        if self.notify and "SILENT" in text:
            await watcher.command("NOOP")  # what was told before counts less than what is assumed now
        await watcher.learn()
        if not watcher.uids:
            return
        if not watcher.qresync and "MODSEQ" in text.upper():
            return  # it enables CONDSTORE, which the first program does not know of
        if self.notify == "selected" and ("{set}" in text or text == "SEARCH SEEN"):
            return  # message numbers may change at any time
        first = number % len(watcher.uids)
        last = min(len(watcher.uids) - 1, first + (number >> 4) % 4)
        await watcher.command(
            text.format(
                set=f"{first + 1}:{last + 1}",
                uids=f"{watcher.uids[first]}:{watcher.uids[last]}",
                modseq=watcher.cache.modseq,
            )
        )

    async def agree(self) -> None:
        """Once nothing more happens, everybody knows everything."""
        inbox = self.here.mailbox_id()
        for watcher in self.watchers:
            await watcher.command("NOOP")
            await watcher.learn()
            await watcher.command("NOOP")
        session = await self.here.login("INBOX")
        lines = await session.ok("UID FETCH 1:* (FLAGS)")
        rows = self.here.store.peek(lambda db: list_flags(db, inbox))
        assert len(lines) == len(rows)
        names = self.here.store.peek(lambda db: keyword_names(db, inbox))
        truth = {uid: frozenset(flag_text(bits, names).split()) for uid, bits in rows}
        for watcher in self.watchers:
            assert watcher.uids == sorted(truth)
            assert watcher.cache.flags == truth
        assert len(self.uidvalidities) == 1


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_all_sessions_end_with_what_the_store_has(steps: list[Step]) -> None:
    async def run(folder: Path) -> None:
        async with office(folder) as here:
            await here.put(*[MESSAGE] * 5)
            actors = Actors(here)
            await actors.start()
            for step in steps:
                await actors.step(*step)
            await actors.agree()

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        asyncio.run(run(Path(folder)))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_a_program_that_leaves_at_any_moment_misses_nothing(steps: list[Step]) -> None:
    """After every step one with QRESYNC hangs up, and must know all when it comes back."""

    async def run(folder: Path) -> None:
        async with office(folder) as here:
            await here.put(*[MESSAGE] * 5)
            actors = Actors(here)
            await actors.start()
            inbox = here.mailbox_id()
            for step in steps:
                await actors.step(*step)
                await actors.step("again", 2, 0, 0)
                uids = [uid for uid, _ in here.store.peek(lambda db: list_flags(db, inbox))]
                assert actors.watchers[2].uids == uids
            await actors.agree()

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        asyncio.run(run(Path(folder)))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([("expunge", 0, 0, 3), ("command", 0, 7, 3)], "selected-delayed")
@example([("command", 1, 5, 0), ("command", 0, 7, 0)], "selected-delayed")
@given(STEPS, st.sampled_from(["selected", "selected-delayed"]))
def test_programs_with_notify_end_with_what_the_store_has(steps: list[Step], how: str) -> None:
    """They are told at any time, and one with QRESYNC that leaves after every step misses nothing."""

    async def run(folder: Path) -> None:
        async with office(folder) as here:
            await here.put(*[MESSAGE] * 5)
            actors = Actors(here, how)
            await actors.start()
            inbox = here.mailbox_id()
            for step in steps:
                await actors.step(*step)
                await actors.step("again", 2, 0, 0)
                uids = [uid for uid, _ in here.store.peek(lambda db: list_flags(db, inbox))]
                assert actors.watchers[2].uids == uids
            await actors.agree()

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        asyncio.run(run(Path(folder)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(  # FETCH tells a modseq past an EXPUNGE that waits: what the client knows has to be said in any case
    [(IDLY, IDLY, IDLY)] * 2
    + [
        (IDLY, ("command", 0, 5, 0), ("expunge", 0, 0, 2)),
        (IDLY, ("mail", 0, 0, 0), IDLY),
        (IDLY, ("again", 0, 0, 0), IDLY),
    ]
)
@given(st.lists(st.tuples(STEP, STEP, STEP), min_size=1, max_size=10))
def test_programs_that_work_at_the_same_time(rounds: list[tuple[Step, Step, Step]]) -> None:
    async def run(folder: Path) -> None:
        async with office(folder) as here:
            await here.put(*[MESSAGE] * 5)
            actors = Actors(here)
            await actors.start()
            for steps in rounds:
                work = [actors.step(what, who, *rest) for who, (what, _, *rest) in enumerate(steps)]
                await asyncio.gather(*work)
            await actors.agree()

    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        asyncio.run(run(Path(folder)))
