"""Ten thousand mailboxes in one account: what is asked about one of them costs no more for the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from appliance.store import Database, mailboxes
from tests.plugins.imap4.office import ANA, Office

MANY, FEW = 10_000, 1_000
UNIT = 100  # instructions of SQLite's machine between two counts


async def fill(here: Office, count: int) -> int:
    account = here.store.directory.account(ANA)
    assert account is not None
    (there,) = here.store.peek(lambda db: db.execute("SELECT count(*) FROM mailbox").fetchone())
    for start in range(there, count, 500):
        names = [f"Top/box{number:05}" for number in range(start, min(start + 500, count))]

        def make(db: Database, names: list[str] = names) -> None:
            for name in names:
                mailboxes.create_mailbox(db, account.id, name)

        await here.store.write(make)
    return account.id


@contextmanager
def counted(db: sqlite3.Connection, steps: list[int]) -> Iterator[None]:
    """How many instructions SQLite carries out meanwhile."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += UNIT
        return 0

    db.set_progress_handler(tick, UNIT)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)
        steps.append(count)


async def test_every_command_works_and_answers_come_in_order(here: Office) -> None:
    await fill(here, MANY)
    client = await here.login()
    lines = await client.ok('LIST "" * RETURN (MYRIGHTS STATUS (MESSAGES UNSEEN DELETED))')
    names = [line.rpartition(b" ")[2] for line in lines if line.startswith(b"* LIST")]
    assert names == [b"INBOX", *sorted(names[1:])]
    assert len([name for name in names if name.startswith(b"Top/")]) > MANY - 20
    assert len([line for line in lines if line.startswith(b"* STATUS")]) == len(names) - 1  # Top is a mere place
    assert len(await client.ok('LIST "" %')) == 7
    await client.ok("RENAME Top Other")
    assert len(await client.ok('LIST "" Other/*')) == len(names) - 7
    assert (await client.completion("DELETE Other")).startswith("NO [HASCHILDREN]")
    await client.ok("DELETE Other/box00777")
    await client.ok("CREATE Other/new")
    await client.ok("SELECT Other/new")


@pytest.mark.parametrize(
    ("work", "most"),
    [
        (lambda db, account: mailboxes.create_mailbox(db, account, "Top/new"), 6 * MANY),  # they are counted
        (lambda db, account: mailboxes.delete_mailbox(db, account, "Top/box00500"), 2 * FEW),
        (lambda db, account: mailboxes.get_mailbox(db, account, "Top/box00500"), 1 * FEW),
        (lambda db, account: mailboxes.rename_mailbox(db, account, "Top", "Other"), 120 * MANY),
    ],
    ids=["create", "delete", "get", "rename"],
)
async def test_work_grows_no_faster_than_the_mailboxes(
    here: Office, work: Callable[[Database, int], object], most: int
) -> None:
    steps: list[int] = []
    for count in (FEW, MANY):
        account = await fill(here, count)

        def measured(db: Database, account: int = account) -> None:
            with counted(db, steps):
                work(db, account)
            raise LookupError("once is enough")

        with pytest.raises(LookupError):
            await here.store.write(measured)
    assert steps[-1] <= most
    assert steps[-1] <= 15 * max(steps[0], UNIT)
