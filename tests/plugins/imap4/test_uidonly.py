"""UIDONLY (RFC 9586), UNAUTHENTICATE (RFC 8437), and signs of life (RFC 9585)."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Bind
from appliance.errors import ProtocolError
from appliance.store.messages import expunge, set_flags
from plugins.imap4 import progress, transfer
from plugins.imap4.config import Imap4Config
from plugins.imap4.protocol import ImapServer
from plugins.imap4.protocol_command import Authenticate, Command, State
from tests.plugins.imap4.office import ANA, LUIS, Office, office

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 6)]


@pytest.mark.parametrize(
    "command",
    [
        "FETCH 1 FLAGS",
        "STORE 1 +FLAGS (\\Seen)",
        "SEARCH ALL",
        "COPY 1 Sent",
        "MOVE 1 Sent",
        "UID SEARCH 1:3",
        "UID SEARCH OR SEEN NOT (DELETED 1:*)",
    ],
)
async def test_message_numbers_are_refused(here: Office, command: str) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert await client.ok("ENABLE UIDONLY") == [b"* ENABLED UIDONLY"]
    assert (await client.completion(command)).startswith("BAD [UIDREQUIRED] ")
    await client.ok("CHECK")


async def test_uids_take_the_place_of_numbers(here: Office) -> None:
    await here.put(*MESSAGES)
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [1], deleted_only=False))
    client = await here.login()
    await client.ok("ENABLE UIDONLY QRESYNC")
    lines = await client.ok("SELECT INBOX")
    assert not [line for line in lines if b"UNSEEN" in line]
    assert await client.ok("UID FETCH 2:3 (FLAGS)") == [b"* %d UIDFETCH (FLAGS (\\Recent))" % uid for uid in (2, 3)]
    assert await client.ok("UID FETCH 2 (UID BODY.PEEK[TEXT])") == [b"* 2 UIDFETCH (UID 2 BODY[TEXT] {0}\r\n)"]
    assert await client.ok("UID FETCH * (RFC822.SIZE)") == [b"* 5 UIDFETCH (RFC822.SIZE 14)"]
    assert await client.ok("UID STORE 4 +FLAGS (\\Seen)") == [b"* 4 UIDFETCH (FLAGS (\\Recent \\Seen) MODSEQ (4))"]
    assert await client.ok("UID SEARCH SEEN") == [b"* SEARCH 4"]
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [3], add=8))
    assert await client.ok("NOOP") == [b"* 3 UIDFETCH (FLAGS (\\Recent \\Deleted) MODSEQ (5))"]
    assert await client.command("EXPUNGE") == (
        [b"* VANISHED 3", b"* 3 RECENT"],
        b"OK [HIGHESTMODSEQ 6] EXPUNGE completed",
    )
    assert (await client.completion("SELECT INBOX (QRESYNC (1 2 3 (4 5)))")).startswith("BAD [UIDREQUIRED]")


async def test_without_qresync_removals_are_told_by_uids_too(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login()
    await client.ok("ENABLE UIDONLY")
    await client.ok("SELECT INBOX")
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2, 4], deleted_only=False))
    assert await client.ok("NOOP") == [b"* VANISHED 2,4", b"* 3 RECENT"]


async def test_another_account_logs_in_on_the_same_connection(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.connect()
    assert (await client.completion("UNAUTHENTICATE")) == "BAD log in first"
    await client.ok(f"LOGIN {ANA} palomar")
    await client.ok("ENABLE UIDONLY CONDSTORE")
    await client.ok("SELECT INBOX")
    completion = await client.completion("UNAUTHENTICATE")
    assert completion.startswith("OK [CAPABILITY IMAP4rev1 ")
    assert "AUTH=PLAIN" in completion
    assert "UNAUTHENTICATE" not in completion
    assert (await client.completion("SELECT INBOX")) == "BAD log in first"
    await client.ok(f"LOGIN {LUIS} palomar")
    lines = await client.ok("SELECT INBOX")
    assert b"* 0 EXISTS" in lines
    await here.put(*MESSAGES, account=LUIS)
    await client.ok("NOOP")
    assert await client.ok("STORE 1 +FLAGS (\\Seen)") == [b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Seen))"]
    await client.ok("LOGOUT")


@pytest.mark.parametrize("end", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH])
async def test_compression_ends_with_the_login(here: Office, end: int) -> None:
    """RFC 8437 section 4.1: behind the command what the client says, behind the OK what it hears."""
    client = await here.login()
    assert b"COMPRESS=DEFLATE" in (await client.ok("CAPABILITY"))[0]
    await client.ok("COMPRESS DEFLATE")
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    client.send(stream.compress(b"x UNAUTHENTICATE\r\n") + stream.flush(end))
    inflate, said = zlib.decompressobj(-15), b""
    while not said.endswith(b"\r\n"):
        said += inflate.decompress(await client.reader.read(4096))
    assert said.startswith(b"x OK [CAPABILITY IMAP4rev1 ")
    assert b"LITERAL-" in said
    assert inflate.unused_data == b""
    await client.ok(f"LOGIN {LUIS} palomar")
    assert b"COMPRESS=DEFLATE" in (await client.ok("CAPABILITY"))[0]
    await client.ok("COMPRESS DEFLATE")


@pytest.mark.parametrize("size", [1, 3, 9999])
def test_a_login_may_follow_at_once_behind_the_end_of_the_stream(size: int) -> None:
    machine = ImapServer()
    machine.state = State.AUTHENTICATED
    machine.start_compression()
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    wire = stream.compress(b"x UNAUTHENTICATE\r\n") + stream.flush(zlib.Z_SYNC_FLUSH) + stream.flush(zlib.Z_FINISH)
    wire += b"y AUTHENTICATE PLAIN AGFuYQBwYWxvbWFy\r\n"
    events = []
    for start in range(0, len(wire), size):
        machine.receive(wire[start : start + size])
        while (event := machine.next_event()) is not None:
            events.append(event)
            if event == Command(b"x", "UNAUTHENTICATE"):
                machine.stop_compression()
                machine.state = State.NOT_AUTHENTICATED
    assert events == [
        Command(b"x", "UNAUTHENTICATE"),
        Authenticate(b"y", "AUTHENTICATE", "PLAIN", b"AGFuYQBwYWxvbWFy"),
    ]


def test_commands_that_come_compressed_behind_unauthenticate_end_the_session() -> None:
    machine = ImapServer()
    machine.state = State.AUTHENTICATED
    machine.start_compression()
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    machine.receive(stream.compress(b"x UNAUTHENTICATE\r\ny NOOP\r\n") + stream.flush(zlib.Z_SYNC_FLUSH))
    assert machine.next_event() == Command(b"x", "UNAUTHENTICATE")
    with pytest.raises(ProtocolError, match="behind UNAUTHENTICATE"):
        machine.stop_compression()


@given(st.binary(max_size=40))
def test_what_follows_a_stream_is_bounded(data: bytes) -> None:
    machine = ImapServer()
    machine.start_compression()
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    machine.receive(stream.compress(b"x NOOP\r\n") + stream.flush(zlib.Z_SYNC_FLUSH))
    assert machine.next_event() == Command(b"x", "NOOP")
    machine.stop_compression()
    with contextlib.suppress(ProtocolError):
        for octet in data:
            machine.receive(bytes([octet]))
            while machine.next_event() is not None:
                pass
    assert len(machine._buffer) <= len(data)


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    """RFC 8437 section 8: there must be a way."""
    listen = (Bind.parse(f"unix:{tmp_path / 'imap.sock'}"),)
    async with office(tmp_path, Imap4Config(listen=listen, listen_tls=(), unauthenticate=False)) as here:
        client = await here.login()
        assert b"UNAUTHENTICATE" not in (await client.ok("CAPABILITY"))[0]
        assert await client.completion("UNAUTHENTICATE") == "BAD unknown command"
        await client.ok("SELECT INBOX")


async def test_connections_are_counted_for_the_account_that_is_logged_in(here: Office) -> None:
    client = await here.connect()
    for _ in range(120):  # more than one account may have at a time
        await client.ok(f"LOGIN {ANA} palomar")
        await client.ok("UNAUTHENTICATE")
    await client.ok(f"LOGIN {ANA} palomar")


async def test_long_commands_give_signs_of_life(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    assert await client.ok("SEARCH TEXT nothing") == [b"* SEARCH"]
    monkeypatch.setattr(progress, "INTERVAL_S", 0.0)
    monkeypatch.setattr(transfer, "MANY", 1)
    client.send(b"a-1 COPY 1:5 Sent\r\n")
    lines, completion = await client.until(b"a-1")
    assert set(lines) == {b'* OK [INPROGRESS ("a-1" 0 5)] Still at work'}
    assert completion.startswith(b"OK [COPYUID ")
    client.send(b"a]3 COPY 1:5 Sent\r\n")
    assert set((await client.until(b"a]3"))[0]) == {b"* OK [INPROGRESS (NIL 0 5)] Still at work"}
    client.send(b"a-2 SEARCH TEXT nothing\r\n")
    lines, completion = await client.until(b"a-2")
    assert lines == [b'* OK [INPROGRESS ("a-2" 0 5)] Still at work', b"* SEARCH"]
