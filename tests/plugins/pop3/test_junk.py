"""Junk among INBOX for those who want it, and unique ids that nothing changes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from appliance.mail.flags import FLAGGED
from appliance.mail.message import Message
from appliance.store.mailboxes import delete_mailbox, rename_mailbox
from appliance.store.messages import copy, expunge, list_rows, move, set_flags
from plugins.pop3.config import Pop3Account, Pop3Config
from plugins.pop3.expiry import DAY_S, Expiry
from tests.plugins.pop3.office import ANA, EPOCH, Office, office
from tests.plugins.pop3.test_expiry import mailbox_id

LOGIN = b"USER ana@palomar.test\r\nPASS palomar\r\n"
WITH_JUNK = Pop3Config(accounts={ANA: Pop3Account(junk=True)})


async def put(here: Office, mailbox: str, *arrived: int) -> None:
    """Messages that say when they arrived, in seconds."""
    items = [(Message.parse(b"Subject: %d\r\n\r\n\r\n" % at), 0, (), EPOCH + at) for at in arrived]
    await here.store.append(mailbox_id(here, mailbox), items)


def subjects(answered: bytes) -> list[int]:
    return [int(line[9:]) for line in answered.split(b"\r\n") if line.startswith(b"Subject: ")]


async def unique_ids(here: Office) -> list[bytes]:
    answered = await here.play(LOGIN + b"UIDL\r\nQUIT\r\n")
    return [line.split()[1] for line in answered.split(b"\r\n") if line[:1].isdigit()]


async def test_junk_is_shown_in_the_order_of_arrival_to_those_who_chose_it(tmp_path: Path) -> None:
    async with office(tmp_path, WITH_JUNK) as here:
        await put(here, "INBOX", 10, 30, 50)
        await put(here, "Junk", 20, 40)
        await put(here, "Archive", 25)
        everything = LOGIN + b"".join(b"RETR %d\r\n" % n for n in range(1, 6)) + b"TOP 2 0\r\nTOP 3 0\r\nQUIT\r\n"
        assert subjects(await here.play(everything)) == [10, 20, 30, 40, 50, 20, 30]
        assert len(set(await unique_ids(here))) == 5
    async with office(tmp_path / "without", Pop3Config(junk=True, accounts={ANA: Pop3Account(junk=False)})) as here:
        await put(here, "INBOX", 10)
        await put(here, "Junk", 20)
        assert len(await unique_ids(here)) == 1


async def test_dele_removes_in_both_mailboxes_and_other_clients_are_told(tmp_path: Path) -> None:
    async with office(tmp_path, WITH_JUNK) as here:
        await put(here, "INBOX", 10, 30)
        await put(here, "Junk", 20, 40)
        assert b"+OK Goodbye" in await here.play(LOGIN + b"DELE 2\r\nDELE 3\r\nDELE 4\r\nRETR 1\r\nQUIT\r\n")
        assert sorted(here.expunged) == [(ANA, "INBOX", [2]), (ANA, "Junk", [1, 2])]
        ids = [mailbox_id(here, name) for name in ("INBOX", "Junk")]
        left = here.store.peek(lambda db: [[row[0] for row in list_rows(db, one)] for one in ids])
        assert left == [[1], []]


async def test_unique_ids_do_not_depend_on_whether_junk_is_shown(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        await put(here, "INBOX", 10, 30)
        await put(here, "Junk", 20)
        before = await unique_ids(here)
    async with office(tmp_path, Pop3Config(junk=True)) as here:
        assert [one for one in await unique_ids(here) if one in before] == before


async def test_an_account_without_junk_has_its_inbox(tmp_path: Path) -> None:
    async with office(tmp_path, WITH_JUNK) as here:
        await put(here, "INBOX", 10)
        account = here.store.directory.account(ANA)
        assert account is not None
        await here.store.write(lambda db: rename_mailbox(db, account.id, "Junk", "Spam"))
        assert len(await unique_ids(here)) == 1
        await here.store.write(lambda db: delete_mailbox(db, account.id, "Spam"))
        assert len(await unique_ids(here)) == 1


async def test_junk_expires_as_inbox_does(tmp_path: Path) -> None:
    async with office(tmp_path, Pop3Config(junk=True, expire=7)) as here:
        await put(here, "INBOX", 10)
        await put(here, "Junk", 20, 30)
        await here.play(LOGIN + b"RETR 1\r\nRETR 3\r\nQUIT\r\n")
        here.core.now = lambda: EPOCH + 8 * DAY_S
        assert await Expiry(here.core, here.locks).step() == 2
        assert sorted(here.expunged) == [(ANA, "INBOX", [1]), (ANA, "Junk", [2])]


async def test_a_unique_id_survives_flags_copies_moves_of_others_and_restarts(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        await put(here, "INBOX", 10, 20, 30, 40)
        first = await unique_ids(here)
        inbox, archive = here.inbox(), mailbox_id(here, "Archive")
        await here.store.write(partial(set_flags, mailbox_id=inbox, uids=[1, 2], add=FLAGGED))
        await here.store.write(lambda db: copy(db, inbox, [1], archive))
        assert await unique_ids(here) == first
        await here.store.write(lambda db: move(db, inbox, [2], archive))
        assert await unique_ids(here) == [first[0], first[2], first[3]]
        # Back from elsewhere: another message by RFC 3501, so it has an id that nothing had before.
        await here.store.write(lambda db: move(db, archive, [2], inbox))
        await here.store.write(lambda db: copy(db, archive, [1], inbox))
        then = await unique_ids(here)
        assert then[:3] == [first[0], first[2], first[3]]
        assert len({*then, *first}) == 6
        await here.store.write(lambda db: expunge(db, inbox, [6], deleted_only=False))
    async with office(tmp_path) as here:
        assert await unique_ids(here) == then[:-1]
        await put(here, "INBOX", 50)
        assert (await unique_ids(here))[-1] not in {*then, *first}
