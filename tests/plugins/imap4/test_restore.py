"""After a restore, programs that saw the time in between are not led astray."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.store import Database, Store
from appliance.store.mailboxes import keyword_names
from appliance.store.messages import expunge, list_flags, set_flags
from appliance.store.rewind import change_uidvalidity, raise_past
from plugins.imap4.view import flag_text
from tests.plugins.imap4.office import Office, office
from tests.plugins.imap4.watching import Cache, Watcher

BEFORE, SINCE, AFTER = (b"Subject: %b\r\n\r\n" % word for word in (b"before", b"since", b"after"))


async def visit(here: Office, cache: Cache) -> None:
    """A program with QRESYNC comes, learns, and goes."""
    watcher = Watcher(await here.login(), cache, qresync=True)
    await watcher.select("INBOX")
    await watcher.client.ok("LOGOUT")


def truth(here: Office) -> dict[int, frozenset[bytes]]:
    inbox = here.mailbox_id()
    names = here.store.peek(lambda db: keyword_names(db, inbox))
    rows = here.store.peek(lambda db: list_flags(db, inbox))
    return {uid: frozenset(flag_text(bits, names).split()) for uid, bits in rows}


async def rewound(folder: Path, work: Callable[[Database], None]) -> None:
    store = Store.open(folder, reserve_bytes=0)
    await store.start()
    await store.write(work)
    await store.close()


@pytest.mark.parametrize("rewind", [raise_past, change_uidvalidity])
async def test_a_program_with_qresync(tmp_path: Path, rewind: Callable[[Database], None]) -> None:
    data, backup, cache = tmp_path / "data", tmp_path / "backup", Cache()
    async with office(data) as here:
        await here.put(*[BEFORE] * 6)
        await visit(here, cache)
        first = cache.uidvalidity
    shutil.copytree(data, backup)
    async with office(data, accounts=()) as here:
        inbox = here.mailbox_id()
        await here.put(*[SINCE] * 4)
        await here.store.write(lambda db: set_flags(db, inbox, [1, 2], add=1))
        await here.store.write(lambda db: expunge(db, inbox, [3], deleted_only=False))
        await visit(here, cache)
        assert cache.flags == truth(here)
        subjects = {uid: b"since" for uid in cache.flags if uid > 6}
    await rewound(backup, rewind)
    async with office(backup, accounts=()) as here:
        given = await here.put(AFTER)
        await visit(here, cache)
        assert (cache.uidvalidity == first) is (rewind is raise_past)
        assert cache.flags == truth(here)
        if rewind is raise_past:
            assert not subjects.keys() & set(given)  # a UID that stood for one message stands for no other


async def test_without_either_a_program_would_take_one_message_for_another(tmp_path: Path) -> None:
    """Why a restore must do one of both."""
    data, backup, cache = tmp_path / "data", tmp_path / "backup", Cache()
    async with office(data) as here:
        await here.put(BEFORE)
    shutil.copytree(data, backup)
    async with office(data, accounts=()) as here:
        (seen,) = await here.put(SINCE)
        await visit(here, cache)
    async with office(backup, accounts=()) as here:
        assert await here.put(AFTER) == [seen]
        await visit(here, cache)
        assert cache.flags == truth(here)  # nothing looks wrong, but the text that the program keeps is another one
