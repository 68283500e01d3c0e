"""What transcripts cannot show: locks, lost connections, other clients, TLS, large messages, failures."""

import asyncio
import base64
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from appliance.connection import WAKE, ConnectionLostError, IdleTimeoutError
from appliance.errors import StoreError
from appliance.mail.session import TlsInfo
from appliance.store import Database
from appliance.store.accounts import delete_account, set_enabled
from appliance.store.messages import expunge, list_rows
from appliance.store.model import SEEN
from appliance.store.texts import PIECE
from appliance.wire.sasl.client import client
from appliance.wire.sasl.server import apop_digest
from plugins.pop3 import maildrop as maildrops
from plugins.pop3 import session as sessions
from plugins.pop3.config import Pop3Account, Pop3Config
from plugins.pop3.lock import Locks
from plugins.pop3.protocol_text import stuffed
from tests.plugins.pop3.office import ANA, HELLO, LUIS, Office, Wire, office

LOGIN = b"USER ana@palomar.test\r\nPASS palomar\r\n"
LINES = b"forty octets with the end of the line\r\n"
TLS = TlsInfo("TLSv1.3", "x", 256, binding=b"hash of the certificate")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as opened:
        opened.weak = False
        yield opened


def uids(here: Office) -> list[int]:
    return [row[0] for row in here.store.peek(lambda db: list_rows(db, here.inbox()))]


# ── the maildrop's lock ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_second_session_is_told_that_it_is_in_use(here: Office) -> None:
    async def second() -> None:
        assert b"-ERR [IN-USE]" in await here.play(LOGIN)
        assert b"-ERR [IN-USE]" in await here.play(b"AUTH PLAIN AGFuYUBwYWxvbWFyLnRlc3QAcGFsb21hcg==\r\n")
        assert b"+OK 0 messages" in await here.play(LOGIN.replace(b"ana", b"luis"))

    wire = Wire([LOGIN, second, b"STAT\r\n"])
    await wire.serve(here.session(wire))
    assert wire.out.endswith(b"+OK 0 0\r\n")
    assert b"+OK 0 messages" in await here.play(LOGIN)  # the lock went with the lost connection


async def test_an_abandoned_session_is_taken_over_and_deletes_nothing(tmp_path: Path) -> None:
    async with office(tmp_path, Pop3Config(takeover_after=1)) as here:
        await here.put(HELLO)

        async def second() -> None:
            assert here.locks._held[ANA].idle_since is not None
            here.locks._held[ANA].idle_since -= 2
            answered = await here.play(LOGIN + b"RETR 1\r\nQUIT\r\n")
            assert b"+OK 1 messages" in answered
            assert answered.endswith(b"+OK Goodbye\r\n")

        wire = Wire([LOGIN + b"DELE 1\r\n", second, b"QUIT\r\n"])
        await wire.serve(here.session(wire))
        assert wire.aborted
        assert uids(here) == [1]
        assert len(here.locks) == 0


async def test_a_peer_that_takes_nothing_is_taken_over_too(tmp_path: Path) -> None:
    async with office(tmp_path, Pop3Config(takeover_after=60)) as here:
        await here.put(b"Subject: x\r\n\r\n" + b"x" * 998 + b"\r\n", b"Subject: big\r\n\r\n" + LINES * 20_000)
        stuck, aborted = asyncio.Event(), asyncio.Event()

        class Vanished(Wire):
            async def drain(self) -> None:
                stuck.set()
                await aborted.wait()
                raise ConnectionLostError("the peer has gone")

            def abort(self) -> None:
                aborted.set()

        wire = Vanished([LOGIN + b"DELE 1\r\nRETR 2\r\n", b"QUIT\r\n"])
        serving = asyncio.create_task(wire.serve(here.session(wire)))
        await asyncio.wait_for(stuck.wait(), 60)
        assert b"-ERR [IN-USE]" in await here.play(LOGIN)
        lease = here.locks._held[ANA]
        assert lease.idle_since is not None
        lease.idle_since -= 61
        assert b"+OK 2 messages" in await here.play(LOGIN)
        await asyncio.wait_for(serving, 60)
        assert uids(here) == [1, 2]
        assert len(here.locks) == 0


async def test_a_login_too_soon_after_the_last_is_refused(tmp_path: Path) -> None:
    config = Pop3Config(login_delay=60, accounts={LUIS: Pop3Account(login_delay=0)})
    async with office(tmp_path, config) as here:
        assert b"-ERR [LOGIN-DELAY]" not in await here.play(LOGIN + b"QUIT\r\n")
        assert b"-ERR [LOGIN-DELAY] Too soon after the last login, wait 60 seconds\r\n" in await here.play(LOGIN)
        assert b"-ERR [AUTH]" in await here.play(LOGIN.replace(b"palomar\r", b"guess\r"))  # which tells no guesser
        for _ in range(2):
            assert b"+OK 0 messages" in await here.play(LOGIN.replace(b"ana", b"luis"))
        here.locks.delays.note(ANA, asyncio.get_running_loop().time() - 61)
        assert b"+OK 0 messages" in await here.play(LOGIN)


async def test_the_lock_is_free_when_quit_is_answered(here: Office) -> None:
    session = here.session(wire := Wire([LOGIN, b"QUIT\r\n"]))
    write, free = wire.write, []
    wire.write = lambda data: (free.append(len(here.locks) == 0), write(data))[1]  # type: ignore[method-assign]
    await wire.serve(session)
    assert free == [True, True, False, True]  # greeting, USER, PASS, QUIT


# ── lost connections and other clients ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [None, IdleTimeoutError("idle"), b"QUIT\n"])
async def test_nothing_is_deleted_without_quit(here: Office, end: object) -> None:
    await here.put(HELLO, HELLO)
    wire = Wire([LOGIN + b"RETR 1\r\nDELE 1\r\nDELE 2\r\n", *([] if end is None else [end])])
    await wire.serve(here.session(wire))
    assert wire.out.count(b"deleted") == 2
    assert uids(here) == [1, 2]
    assert len(here.locks) == 0
    assert not any(row[1] & SEEN for row in here.store.peek(lambda db: list_rows(db, here.inbox())))


async def test_what_another_client_removed_is_told_so(here: Office) -> None:
    await here.put(HELLO, b"Subject: two\r\n\r\n2\r\n", b"Subject: three\r\n\r\n3\r\n")

    async def by_imap() -> None:
        await here.store.write(partial(expunge, mailbox_id=here.inbox(), uids=[2], deleted_only=False))

    wire = Wire([LOGIN, by_imap, b"RETR 1\r\nRETR 2\r\nTOP 2 0\r\nRETR 3\r\nDELE 2\r\nDELE 3\r\nQUIT\r\n"])
    await wire.serve(here.session(wire))
    assert wire.out.count(b"-ERR Another mail program has removed this message meanwhile\r\n") == 2
    assert b"Hello" in wire.out
    assert b"Subject: three\r\n\r\n3\r\n.\r\n" in wire.out
    assert wire.out.endswith(b"+OK Goodbye\r\n")
    assert uids(here) == [1]
    assert here.expunged == [(ANA, "INBOX", [3])]


async def test_mail_that_comes_meanwhile_is_seen_at_the_next_login(here: Office) -> None:
    await here.put(HELLO)

    async def arrives() -> None:
        await here.put(HELLO)

    wire = Wire([LOGIN, arrives, b"STAT\r\nUIDL 2\r\nQUIT\r\n"])
    await wire.serve(here.session(wire))
    assert b"+OK 1 25\r\n-ERR No such message\r\n" in wire.out
    assert b"+OK 2 messages (50 octets)" in await here.play(LOGIN)


async def test_unique_ids_last(here: Office) -> None:
    await here.put(HELLO, HELLO, HELLO)
    first = await here.play(LOGIN + b"UIDL\r\nDELE 1\r\nQUIT\r\n")
    ids = re.findall(rb"^\d (\S+)\r\n", first, re.MULTILINE)
    assert len(set(ids)) == 3
    assert all(1 <= len(one) <= 70 for one in ids)
    await here.put(HELLO)
    second = await here.play(LOGIN + b"UIDL\r\nUIDL 1\r\n")
    again = re.findall(rb"^\d (\S+)\r\n", second, re.MULTILINE)
    assert again[:2] == ids[1:]
    assert again[2] not in ids
    assert second.endswith(b"+OK 1 %b\r\n" % ids[1])


@pytest.mark.parametrize("mark_seen", [True, False])
async def test_fetched_messages_are_marked_as_read(tmp_path: Path, mark_seen: bool) -> None:
    async with office(tmp_path, Pop3Config(mark_seen=mark_seen)) as here:
        await here.put(HELLO, HELLO)
        await here.play(LOGIN + b"RETR 1\r\nTOP 2 99999999\r\nQUIT\r\n")
        rows = here.store.peek(lambda db: list_rows(db, here.inbox()))
        assert [bool(row[1] & SEEN) for row in rows] == [mark_seen, False]


# ── many and large messages ──────────────────────────────────────────────────────────────────────────────────────────


def numbered(count: int) -> list[bytes]:
    return [b"Subject: %d\r\n\r\nText of message %d\r\n" % (n, n) for n in range(1, count + 1)]


@pytest.mark.parametrize("ahead", [1, 1000, 256 * 1024])
async def test_reading_ahead_changes_nothing(here: Office, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(maildrops, "READ_AHEAD_BYTES", ahead)
    messages = numbered(150)
    await here.put(*messages)
    order = [*range(1, 80), 5, 6, 7, 150, 149, *range(100, 151), 1]
    commands = b"".join(b"RETR %d\r\nTOP %d 0\r\n" % (n, n) if n % 10 == 0 else b"RETR %d\r\n" % n for n in order)
    answered = await here.play(LOGIN + b"DELE 90\r\n" + commands)
    wanted = b""
    for n in order:
        wanted += b"+OK %d octets\r\n" % len(messages[n - 1]) + stuffed(messages[n - 1])
        if n % 10 == 0:
            wanted += b"+OK\r\nSubject: %d\r\n\r\n.\r\n" % n
    assert answered.partition(b"+OK Message 90 deleted\r\n")[2] == wanted


def counted(here: Office) -> list[int]:
    """How many messages each trip to a reader thread brings, from now on."""
    trips: list[int] = []
    read = here.store.read

    async def counting(fn: Callable[[Database], Any]) -> Any:
        made = await read(fn)
        if isinstance(made, list) and made:
            trips.append(len(made))
        return made

    here.store.read = counting  # type: ignore[method-assign]
    return trips


async def test_fetching_in_order_takes_few_trips_to_the_store(here: Office) -> None:
    await here.put(*numbered(100))
    trips = counted(here)
    await here.play(LOGIN + b"".join(b"RETR %d\r\n" % n for n in range(1, 101)))
    assert trips == [65, 35]
    trips.clear()
    await here.play(LOGIN + b"RETR 100\r\n" + b"TOP 40 2\r\n")
    assert trips == [1, 1]


async def test_nothing_that_was_read_ahead_outlives_the_session(here: Office) -> None:
    await here.put(*numbered(10))
    wire = Wire([LOGIN + b"RETR 1\r\nRETR 2\r\n"])
    session = here.session(wire)
    await wire.serve(session)
    assert session.maildrop is not None
    assert 3 not in session.maildrop._responses


async def test_a_large_message_is_not_read_ahead(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildrops, "READ_AHEAD_BYTES", 1000)
    await here.put(*numbered(3), b"Subject: large\r\n\r\n" + b"x" * 2000 + b"\r\n", *numbered(3))
    trips = counted(here)
    await here.play(LOGIN + b"".join(b"RETR %d\r\n" % n for n in range(1, 4)))
    assert trips == [3]
    trips.clear()
    await here.play(LOGIN + b"".join(b"RETR %d\r\n" % n for n in range(1, 8)))
    assert trips == [3, 3]  # the large one between them comes in pieces


async def test_messages_removed_while_they_were_read_ahead(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildrops, "READ_AHEAD_BYTES", 100)
    await here.put(*numbered(20))
    wire = Wire([LOGIN + b"RETR 1\r\nRETR 2\r\n"])
    gone = uids(here)[10:12]
    wire.script += [lambda: here.store.write(lambda db: expunge(db, here.inbox(), gone, deleted_only=False))]
    wire.script += [b"".join(b"RETR %d\r\n" % n for n in range(3, 21))]
    await wire.serve(here.session(wire))
    assert wire.out.count(b"Text of message") == 18
    assert wire.out.count(b"-ERR Another mail program has removed this message meanwhile\r\n") == 2


async def test_headers_read_ahead_are_not_taken_for_messages(here: Office) -> None:
    await here.put(*numbered(4))
    answered = await here.play(LOGIN + b"TOP 1 0\r\nTOP 2 0\r\nRETR 3\r\nRETR 4\r\nTOP 3 0\r\nTOP 4 0\r\n")
    assert answered.count(b"Text of message") == 2
    assert answered.endswith(b"\r\n.\r\n+OK\r\nSubject: 3\r\n\r\n.\r\n+OK\r\nSubject: 4\r\n\r\n.\r\n")


async def test_large_messages_go_out_in_pieces(here: Office) -> None:
    large = b"Subject: large\r\n\r\n" + b"." * 76 + b"\r\n" + (b"x" * 76 + b"\r\n." + b"\r\n") * 20_000 + b"end"
    await here.put(large, HELLO)
    wire = Wire([LOGIN + b"RETR 1\r\nRETR 2\r\nTOP 1 3\r\n"])
    await wire.serve(here.session(wire))
    assert b"+OK %d octets\r\n" % len(large) + stuffed(large) + b"+OK 25 octets\r\n" in wire.out
    assert wire.drained >= len(large) // sessions.DRAIN_EVERY
    assert wire.out.endswith(b"+OK\r\nSubject: large\r\n\r\n." + b"." * 76 + b"\r\n" + b"x" * 76 + b"\r\n..\r\n.\r\n")


def cut_badly() -> bytes:
    """A large message whose dots and line ends stand on both sides of every border between two pieces."""
    header = b"Subject: cut\r\n\r\n"
    text = bytearray(random.Random(1).randbytes(2 * PIECE).hex().encode())
    for border in range(PIECE, len(text), PIECE):
        around = (b"\r\n.", b"\r\n.\r\n.", b"\r\n..")[border // PIECE % 3]
        shift = border // PIECE % 4
        text[border - shift : border - shift + len(around)] = around
    return header + text + b"\r\n."


async def test_dots_are_doubled_across_pieces(here: Office) -> None:
    for sent in (cut_badly(), cut_badly() + b"\r\n"):
        [uid] = await here.put(sent)
        wire = Wire([LOGIN + b"RETR %d\r\nNOOP\r\n" % uid])
        await wire.serve(here.session(wire))
        assert wire.out.partition(b"octets)\r\n")[2] == (b"+OK %d octets\r\n" % len(sent) + stuffed(sent) + b"+OK\r\n")
        assert wire.drained >= len(sent) // PIECE


@pytest.mark.parametrize("lines", [1, 4999, 5000, 12_000, 19_999, 20_000, 20_001, 9_999_999_999])
async def test_the_first_lines_of_a_large_message(here: Office, lines: int) -> None:
    parts = [b"%d %s\r\n" % (n, random.Random(n).randbytes(20).hex().encode()) for n in range(20_000)]
    header = b"Subject: lines\r\n\r\n"
    await here.put(header + b"".join(parts))
    answered = await here.play(LOGIN + b"TOP 1 %d\r\nNOOP\r\n" % lines)
    assert answered.partition(b"messages")[2].partition(b"\r\n")[2] == (
        b"+OK\r\n" + stuffed(header + b"".join(parts[:lines])) + b"+OK\r\n"
    )


def damaged(here: Office, frame: int) -> None:
    """Flip a bit in one of the eight frames of the only large message."""
    [number] = here.store._segments.numbers()
    path = here.store._segments.path(number)
    stored = bytearray(path.read_bytes())
    stored[len(stored) * (2 * frame + 1) // 16] ^= 1
    path.write_bytes(stored)


async def test_a_large_message_that_is_damaged(here: Office, caplog: pytest.LogCaptureFixture) -> None:
    """What is found before anything is sent is answered; behind that only the connection's end says it."""
    await here.put(b"Subject: bad\r\n\r\n" + random.Random(2).randbytes(4 * PIECE).hex().encode(), HELLO)
    damaged(here, 5)
    wire = Wire([LOGIN + b"DELE 2\r\nTOP 1 0\r\nRETR 1\r\nQUIT\r\n"])
    await wire.serve(here.session(wire))
    assert wire.aborted
    assert b"\r\n.\r\n" not in wire.out.partition(b" octets\r\n")[2]
    assert "message 1 of ana@palomar.test broke off on its way: body 1: frame 5: " in caplog.text
    assert uids(here) == [1, 2]
    damaged(here, 0)
    answered = await here.play(LOGIN + b"RETR 1\r\nTOP 1 1\r\nRETR 2\r\n")
    assert answered.count(b"-ERR [SYS/TEMP] The message cannot be read now, try again later\r\n") == 2
    assert answered.endswith(stuffed(HELLO))
    assert not here.store._segments._pins


async def test_a_large_message_that_is_gone(here: Office) -> None:
    await here.put(cut_badly())
    mailbox_id = here.inbox()

    async def remove() -> None:
        await here.store.write(lambda db: expunge(db, mailbox_id, None, deleted_only=False))
        for _ in range(3):
            await here.store.write(lambda _: None)  # the sweeper works behind others

    wire = Wire([LOGIN, remove, b"RETR 1\r\nNOOP\r\n"])
    await wire.serve(here.session(wire))
    assert wire.out.endswith(b"-ERR Another mail program has removed this message meanwhile\r\n+OK\r\n")


async def test_clients_that_never_read_cost_little(here: Office) -> None:
    """Each of them waits at the second piece of its message, and no more of it is in memory."""
    await here.put(b"Subject: big\r\n\r\n" + random.Random(3).randbytes(2 << 20).hex().encode())
    await here.play(LOGIN + b"RETR 1\r\n")
    wires = [Stuck([LOGIN + b"RETR 1\r\n"]) for _ in range(50)]
    before = pss()
    tasks = []
    for wire in wires:
        here.locks = Locks()  # as if each had a maildrop of its own
        tasks.append(asyncio.ensure_future(wire.serve(here.session(wire))))
    await asyncio.gather(*[wire.stuck.wait() for wire in wires])
    assert pss() - before < 60 << 20
    assert all(0 < len(wire.out) < 3 * PIECE for wire in wires)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not here.store._segments._pins


class Stuck(Wire):
    """A peer that reads no more once it has got a piece of a large message."""

    def __init__(self, script: Iterable[object]) -> None:
        super().__init__(script)
        self.stuck = asyncio.Event()

    async def drain(self) -> None:
        self.stuck.set()
        await asyncio.Event().wait()


def pss() -> int:
    """The octets of memory of this process."""
    return int(re.search(r"^Pss: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)[1]) * 1024  # type: ignore[index]


async def test_a_peer_that_pipelines_and_does_not_read_is_waited_for(here: Office) -> None:
    await here.put(b"Subject: x\r\n\r\n" + b"x" * 60_000 + b"\r\n")
    wire = Wire([LOGIN + b"RETR 1\r\n" * 50])
    await wire.serve(here.session(wire))
    assert wire.drained == 50 * 60_000 // sessions.DRAIN_EVERY - 1


async def test_long_listings(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.pop3.transaction.LINES_AT_ONCE", 7)
    await here.put(*numbered(30))
    answered = await here.play(LOGIN + b"LIST\r\n")
    assert re.findall(rb"^(\d+) \d+\r\n", answered, re.MULTILINE) == [b"%d" % n for n in range(1, 31)]
    assert answered.endswith(b"\r\n.\r\n")


async def test_many_deletions(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildrops, "UPDATE_AT_ONCE", 7)
    await here.put(*numbered(30))
    await here.play(LOGIN + b"".join(b"RETR %d\r\nDELE %d\r\n" % (n, n) for n in range(1, 30)) + b"QUIT\r\n")
    assert uids(here) == [30]
    assert [list(found) for _, _, found in here.expunged] == [list(range(1, 30))]


# ── TLS and logging in ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_login_in_clear_from_elsewhere(here: Office) -> None:
    commands = b"CAPA\r\n" + LOGIN + b"AUTH PLAIN AGFuYUBwYWxvbWFyLnRlc3QAcGFsb21hcg==\r\nAUTH\r\n"
    answered = await here.play(commands, peer_ip="192.0.2.1")
    assert b"\r\nSASL" not in answered
    assert b"\r\nUSER" not in answered
    assert b"\r\nSTLS\r\n" in answered
    assert answered.endswith(
        b"-ERR Encryption is required for a login: use STLS\r\n-ERR USER comes first\r\n"
        b"-ERR Encryption is required for authentication\r\n+OK Mechanisms follow\r\n.\r\n"
    )


async def test_stls(here: Office) -> None:
    wire = Wire([b"USER ana@palomar.test\r\nSTLS\r\n", b"PASS palomar\r\nSTLS\r\n" + LOGIN], peer_ip="192.0.2.1")
    await wire.serve(here.session(wire))
    assert b"+OK Begin TLS\r\n-ERR USER comes first\r\n-ERR TLS is up already\r\n+OK And" in wire.out
    assert wire.out.endswith(b"+OK 0 messages (0 octets)\r\n")


async def test_commands_pipelined_after_stls_end_the_connection(here: Office) -> None:
    answered = await here.play(b"STLS\r\n" + LOGIN, peer_ip="192.0.2.1")
    assert answered.endswith(b"ready\r\n-ERR Data pipelined after STLS\r\n")


async def test_stls_over_a_unix_socket_is_pointless(here: Office) -> None:
    assert (await here.play(b"STLS\r\nSTLS x\r\n", peer_ip="")).endswith(
        b"-ERR No TLS here\r\n-ERR STLS takes no argument\r\n"
    )


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "CRAM-MD5"])
async def test_challenge_and_response(here: Office, name: str) -> None:
    here.weak = True
    options = {"binding": TLS.binding, "plus_offered": True} if name.endswith("PLUS") else {}
    user = client(name, LUIS, "palomar", nonce=b"nonce", **options)
    first = user.step(None)
    wire = Wire([], peer_ip="192.0.2.1", tls=TLS)

    def answer() -> None:
        line = wire.out.rstrip().rpartition(b"\r\n")[2]
        if line.startswith(b"+ "):
            wire.script.append(answer)
            wire.machine.receive(base64.b64encode(user.step(base64.b64decode(line[2:])) or b"") + b"\r\n")

    wire.script = [b"AUTH %b%b\r\n" % (name.encode(), b" " + base64.b64encode(first) if first else b""), answer]
    await wire.serve(here.session(wire))
    assert wire.out.endswith(b"+OK 0 messages (0 octets)\r\n")
    assert user.done


async def test_apop_is_greeted_with_a_stamp_where_somebody_uses_it(here: Office) -> None:
    here.weak = True

    async def apop(login: str, password: bytes) -> bytes:
        wire = Wire([])
        wire.script = [
            lambda: wire.machine.receive(
                b"APOP %b %b\r\n" % (login.encode(), apop_digest(re.findall(rb"<.*?>", wire.out)[0], password))
            )
        ]
        await wire.serve(here.session(wire))
        return bytes(wire.out)

    greeting = await here.play(b"APOP luis@palomar.test x\r\n")
    assert re.match(rb"\+OK Palomar POP3 ready <[0-9a-f]+\.\d+@mail\.palomar\.test>\r\n-ERR APOP needs", greeting)
    assert (await apop(LUIS, b"palomar")).endswith(b"+OK 0 messages (0 octets)\r\n")
    for login, password in ((LUIS, b"wrong"), (ANA, b"palomar"), ("nobody@palomar.test", b"palomar")):
        assert (await apop(login, password)).endswith(b"-ERR [AUTH] Authentication failed\r\n")
    assert b"<" not in await here.play(b"", peer_ip="192.0.2.1")  # no login is allowed there before STLS


async def test_a_back_end_that_is_down(here: Office) -> None:
    here.down = True
    here.weak = True
    plain = b"AUTH PLAIN AGFuYUBwYWxvbWFyLnRlc3QAcGFsb21hcg==\r\n"
    digest = b"APOP ana@palomar.test c4c9334bac560ecc979e58001b3e22fb\r\n"
    answered = await here.play(LOGIN + plain + digest)
    assert answered.count(b"-ERR [SYS/TEMP] Accounts cannot be looked up now, try again later\r\n") == 3


async def test_a_login_without_a_mailbox(here: Office) -> None:
    assert b"-ERR [SYS/PERM]" in await here.play(b"USER ghost\r\nPASS palomar\r\n")


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_store_that_fails(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.put(HELLO)

    def fail(*_: object, **__: object) -> object:
        raise StoreError("bad sector")

    wire = Wire([LOGIN, lambda: monkeypatch.setattr(here.store, "read", fail), b"RETR 1\r\nDELE 1\r\n"])
    wire.script += [lambda: monkeypatch.setattr(here.store, "write", fail), b"QUIT\r\n"]
    await wire.serve(here.session(wire))
    assert b"-ERR [SYS/TEMP] The message cannot be read now, try again later\r\n" in wire.out
    assert wire.out.endswith(b"-ERR [SYS/TEMP] Some deleted messages are not removed, try again later\r\n")
    assert len(here.locks) == 0
    monkeypatch.setattr(here.store, "read", fail)
    assert (await here.play(LOGIN)).endswith(b"-ERR [SYS/TEMP] The mailbox cannot be read now, try again later\r\n")
    assert len(here.locks) == 0


@pytest.mark.parametrize("change", [partial(delete_account, name=ANA), partial(set_enabled, name=ANA, enabled=False)])
async def test_a_session_ends_with_its_account(here: Office, change: partial[None]) -> None:
    async def gone() -> None:
        await here.store.write(change)

    wire = Wire([LOGIN, gone, b"STAT\r\n"])
    await wire.serve(here.session(wire))
    assert wire.out.count(b"+OK") == 3  # greeting, USER, PASS: STAT is not answered any more
    assert here.store.directory._watched == {}


async def test_shutdown_ends_idle_sessions_and_deletes_nothing(here: Office) -> None:
    await here.put(HELLO)
    wire = Wire([LOGIN + b"DELE 1\r\n", WAKE, lambda: setattr(wire, "stopping", True), WAKE, b"QUIT\r\n"])
    await wire.serve(here.session(wire))
    assert wire.out.endswith(b"deleted\r\n")
    assert uids(here) == [1]
    wire = Wire([b"AUTH LOGIN\r\n", WAKE, lambda: setattr(wire, "stopping", True), WAKE])
    await wire.serve(here.session(wire))
    assert wire.out.endswith(b"-ERR [SYS/TEMP] The server is shutting down\r\n")


async def test_timeouts_are_those_of_the_settings(here: Office) -> None:
    wire = Wire([LOGIN, b"NOOP\r\n"])
    await wire.serve(here.session(wire))
    assert wire.timeouts == [180.0, 180.0, 600.0, 600.0]


async def test_too_many_bad_commands_end_the_connection(here: Office) -> None:
    answered = await here.play(b"FROB\r\n" * 100)
    assert answered.count(b"-ERR Unknown command\r\n") == 20


@pytest.mark.parametrize(
    "settings", [{"max_errors": 0}, {"command_timeout": 599}, {"login_timeout": 0}, {"takeover_after": 0}]
)
def test_settings_are_checked(settings: dict[str, float]) -> None:
    assert [problem.setting for problem in Pop3Config(**settings).problems()] == list(settings)
