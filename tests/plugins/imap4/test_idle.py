"""IDLE (RFC 2177), autologout, and the end of the appliance."""

from __future__ import annotations

import asyncio
from pathlib import Path

from appliance.config import Bind
from appliance.store.accounts import delete_account
from appliance.store.messages import expunge, set_flags
from plugins.imap4.config import Imap4Config
from tests.plugins.imap4.office import ANA, Office, office

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 4)]


async def test_changes_are_told_as_they_happen(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    inbox = here.mailbox_id()
    client.send(b"x IDLE\r\n")
    assert await client.line() == b"+ idling"
    await here.put(MESSAGES[0])
    assert [await client.line() for _ in range(2)] == [b"* 4 EXISTS", b"* 4 RECENT"]
    await here.store.write(lambda db: set_flags(db, inbox, [2], add=1))
    assert await client.line() == b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen))"
    await here.store.write(lambda db: expunge(db, inbox, [1, 3], deleted_only=False))
    assert [await client.line() for _ in range(3)] == [b"* 3 EXPUNGE", b"* 1 EXPUNGE", b"* 2 RECENT"]
    client.send(b"done\r\n")
    assert await client.line() == b"x OK IDLE completed"
    assert await client.ok("FETCH 1:* UID") == [b"* 1 FETCH (UID 2)", b"* 2 FETCH (UID 4)"]


async def test_what_happened_before_idle_is_told_at_its_start(here: Office) -> None:
    client = await here.login("INBOX")
    await here.put(*MESSAGES)
    client.send(b"x IDLE\r\n")
    assert [await client.line() for _ in range(3)] == [b"+ idling", b"* 3 EXISTS", b"* 3 RECENT"]


async def test_idle_without_a_mailbox_and_with_a_wrong_end(here: Office) -> None:
    client = await here.login()
    client.send(b"x IDLE\r\nDONE\r\n")
    assert [await client.line() for _ in range(2)] == [b"+ idling", b"x OK IDLE completed"]
    client.send(b"y IDLE\r\nz NOOP\r\n")
    assert [await client.line() for _ in range(2)] == [b"+ idling", b"y BAD expected DONE"]
    await client.ok("NOOP")


async def test_nothing_is_told_outside_of_commands(here: Office) -> None:
    client, other = await here.login("INBOX"), await here.login("INBOX")
    await here.put(*MESSAGES)
    await other.ok("NOOP")
    assert await client.ok("NOOP") == [b"* 3 EXISTS"]


async def test_sessions_end_with_their_account(here: Office) -> None:
    idle, quiet = await here.login("INBOX"), await here.login()
    idle.send(b"x IDLE\r\n")
    assert await idle.line() == b"+ idling"
    await here.store.write(lambda db: delete_account(db, ANA))
    assert (await idle.line()).startswith(b"* BYE")
    assert (await quiet.line()).startswith(b"* BYE")


async def test_an_idle_session_is_told_of_the_end(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        idle, quiet = await here.login("INBOX"), await here.login("INBOX")
        idle.send(b"x IDLE\r\n")
        await idle.line()
        for connection in here.listeners[0].connections:
            connection.stopping = True
            connection.wake()
        goodbye = b"* BYE [UNAVAILABLE] The service is shutting down, try again later"
        assert await idle.line() == goodbye
        assert await quiet.line() == goodbye
        assert await idle.line() == b""


async def test_a_session_that_says_nothing_is_logged_out(tmp_path: Path) -> None:
    listen = (Bind.parse(f"unix:{tmp_path / 'imap.sock'}"),)
    async with office(tmp_path, Imap4Config(listen=listen, listen_tls=(), login_timeout=1)) as here:
        client = await here.connect()
        assert await client.line() == b"* BYE Autologout, nothing came for too long"
        assert await client.line() == b""


async def test_many_idle_sessions_hear_of_one_message(tmp_path: Path) -> None:
    listen = (Bind.parse(f"unix:{tmp_path / 'imap.sock'}"),)
    async with office(tmp_path, Imap4Config(listen=listen, listen_tls=(), max_per_account=100)) as here:
        clients = [await here.login("INBOX") for _ in range(15)]
        for client in clients:
            client.send(b"x IDLE\r\n")
            await client.line()
        await here.put(MESSAGES[0])
        told = await asyncio.gather(*(client.line() for client in clients))
        assert set(told) == {b"* 1 EXISTS"}
