"""Mail that POP3 clients leave behind expires when that is configured, and never otherwise."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.flags import FLAGGED, SEEN
from appliance.store.mailboxes import get_mailbox
from appliance.store.messages import list_rows, move, set_flags
from plugins.pop3.config import Pop3Account, Pop3Config
from plugins.pop3.expiry import DAY_S, Expiry
from plugins.pop3.policy import capabilities, policy_of
from tests.plugins.pop3.office import ANA, EPOCH, HELLO, LUIS, Office, Wire, office

LOGIN = b"USER ana@palomar.test\r\nPASS palomar\r\n"
FETCH_ALL = LOGIN + b"RETR 1\r\nRETR 2\r\nRETR 3\r\nQUIT\r\n"
WEEK = Pop3Config(expire=7)


def uids(here: Office, account: str = ANA) -> list[int]:
    return [row[0] for row in here.store.peek(lambda db: list_rows(db, here.inbox(account)))]


def taken(here: Office) -> int:
    return int(here.store.peek(lambda db: db.execute("SELECT count(*) FROM pop3_taken").fetchone())[0])


def expiry(here: Office, *, days: float = 0) -> Expiry:
    here.core.now = lambda: EPOCH + days * DAY_S
    return Expiry(here.core, here.locks)


async def test_what_was_fetched_is_removed_after_its_days_and_not_before(tmp_path: Path) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(LOGIN + b"RETR 1\r\nRETR 3\r\nTOP 2 9\r\nQUIT\r\n")
        assert await expiry(here, days=7).step() == 0
        assert uids(here) == [1, 2, 3]
        assert await expiry(here, days=7.1).step() == 2
        assert uids(here) == [2]
        assert here.expunged == [(ANA, "INBOX", [1, 3])]
        assert taken(here) == 0


async def test_the_days_are_counted_from_the_first_fetch(tmp_path: Path) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(FETCH_ALL)
        here.core.now = lambda: EPOCH + 5 * DAY_S
        await here.play(FETCH_ALL)
        assert await expiry(here, days=8).step() == 3


async def test_what_was_read_elsewhere_counts_from_when_a_pop3_client_lists_it(tmp_path: Path) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.store.write(partial(set_flags, mailbox_id=here.inbox(), uids=[2], add=SEEN))
        assert await expiry(here, days=100).step() == 0
        await here.play(LOGIN + b"UIDL\r\nQUIT\r\n")
        assert await expiry(here, days=106).step() == 0
        assert await expiry(here, days=108).step() == 1
        assert uids(here) == [1, 3]


async def test_what_is_flagged_stays(tmp_path: Path) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(FETCH_ALL)
        await here.store.write(partial(set_flags, mailbox_id=here.inbox(), uids=[2], add=FLAGGED))
        assert await expiry(here, days=8).step() == 2
        assert uids(here) == [2]


async def test_what_was_filed_elsewhere_stays_and_is_forgotten(tmp_path: Path) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(FETCH_ALL)
        archive = mailbox_id(here, "Archive")
        await here.store.write(lambda db: move(db, here.inbox(), [1, 2, 3], archive))
        assert await expiry(here, days=8).step() == 0
        assert taken(here) == 0
        assert len(here.store.peek(lambda db: list_rows(db, archive))) == 3


@pytest.mark.parametrize("config", [Pop3Config(), Pop3Config(expire=7, accounts={ANA: Pop3Account(expire=-1)})])
async def test_nothing_is_noted_or_removed_unless_it_is_configured(tmp_path: Path, config: Pop3Config) -> None:
    async with office(tmp_path, config) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(FETCH_ALL)
        assert taken(here) == 0
        assert await expiry(here, days=10_000).step() == 0
        assert uids(here) == [1, 2, 3]


async def test_an_account_has_its_own_days(tmp_path: Path) -> None:
    async with office(tmp_path, Pop3Config(expire=7, accounts={LUIS: Pop3Account(expire=30)})) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.put(HELLO, HELLO, HELLO, account=LUIS)
        await here.play(FETCH_ALL)
        await here.play(FETCH_ALL.replace(b"ana", b"luis"))
        assert await expiry(here, days=10).step() == 3
        assert (uids(here), uids(here, LUIS)) == ([], [1, 2, 3])
        assert await expiry(here, days=31).step() == 3


async def test_a_lost_connection_counts_nothing_as_fetched(tmp_path: Path) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(FETCH_ALL.removesuffix(b"QUIT\r\n"))
        assert taken(here) == 0


async def test_nothing_goes_while_a_session_has_the_maildrop(tmp_path: Path) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(FETCH_ALL)

        async def look() -> None:
            assert await expiry(here, days=8).step() == 0

        wire = Wire([LOGIN, look, b"RETR 2\r\n"])
        await wire.serve(here.session(wire))
        assert b"Hello" in wire.out
        assert await expiry(here, days=8).step() == 3


@pytest.mark.parametrize("state", ["unset", "plausible"])
async def test_nothing_is_noted_or_removed_while_the_time_is_not_known(tmp_path: Path, state: Any) -> None:
    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        here.core.time_state = state
        await here.play(FETCH_ALL)
        assert taken(here) == 0
        here.core.time_state = "synced"
        await here.play(FETCH_ALL)
        here.core.time_state = state
        assert await expiry(here, days=8).step() == 0
        here.core.time_state = "synced"
        assert await expiry(here, days=8).step() == 3


async def test_more_than_one_transaction_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.pop3.expiry.AT_ONCE", 2)
    async with office(tmp_path, WEEK) as here:
        await here.put(*[HELLO] * 5)
        await here.play(LOGIN + b"".join(b"RETR %d\r\n" % n for n in range(1, 6)) + b"QUIT\r\n")
        assert await expiry(here, days=8).step() == 5
        assert [list(uids) for _, _, uids in here.expunged] == [[1, 2], [3, 4], [5]]


@given(
    st.sampled_from([-1, 0, 3, 30]),
    st.sampled_from([0, 60]),
    st.lists(st.tuples(st.sampled_from([None, -1, 0, 7]), st.sampled_from([None, 0, 90])), max_size=3),
)
def test_what_is_promised_before_the_login_holds_for_everybody(
    expire: int, delay: int, own: list[tuple[int | None, int | None]]
) -> None:
    names = [f"user{number}@palomar.test" for number in range(len(own))]
    accounts = {name: Pop3Account(expire=days, login_delay=wait) for name, (days, wait) in zip(names, own, strict=True)}
    config = Pop3Config(expire=expire, login_delay=delay, accounts=accounts)
    before = told(capabilities(config, None))
    for name in [*names, "other@palomar.test"]:
        after = told(capabilities(config, policy_of(config, name)))
        assert "USER" not in after["EXPIRE"] + after.get("LOGIN-DELAY", [])
        assert days_of(before["EXPIRE"]) <= days_of(after["EXPIRE"])
        assert float(before.get("LOGIN-DELAY", ["0"])[0]) >= float(after.get("LOGIN-DELAY", ["0"])[0])
        if "USER" not in before["EXPIRE"]:
            assert before["EXPIRE"] == after["EXPIRE"]


def told(lines: Any) -> dict[str, list[str]]:
    return {name: words for name, *words in (line.split() for line in lines)}


def days_of(words: list[str]) -> float:
    return float("inf") if words[0] == "NEVER" else float(words[0])


def mailbox_id(here: Office, name: str) -> int:
    account = here.store.directory.account(ANA)
    assert account is not None
    found = here.store.peek(lambda db: get_mailbox(db, account.id, name))
    assert found is not None
    return found.id


async def test_the_service_looks_at_once_and_ends_when_told(tmp_path: Path) -> None:

    async with office(tmp_path, WEEK) as here:
        await here.put(HELLO, HELLO, HELLO)
        await here.play(FETCH_ALL)
        looking, ready = expiry(here, days=8), asyncio.Event()
        running = asyncio.create_task(looking.run(ready.set))
        await asyncio.wait_for(ready.wait(), 60)
        while uids(here):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


PROBLEMS: list[tuple[Pop3Config, str]] = [
    (Pop3Config(expire=-2), "expire"),
    (Pop3Config(login_delay=100_000), "login_delay"),
    (Pop3Config(accounts={"ana": Pop3Account()}), "accounts.ana"),
    (Pop3Config(accounts={"Ana@Palomar.test": Pop3Account()}), 'accounts."Ana@Palomar.test"'),
]


@pytest.mark.parametrize(("config", "where"), PROBLEMS, ids=[where for _, where in PROBLEMS])
def test_what_cannot_be_is_said(config: Pop3Config, where: str) -> None:
    assert [problem.setting for problem in config.problems()] == [where]
