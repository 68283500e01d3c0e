"""Strangers at the MX port: the wait before the greeting, rates, the tarpit, harvesters."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from appliance.mail.session import Session
from plugins.door.door import MAX_PASSES, STASH, Door
from plugins.door.networks import MAX_NETWORKS
from plugins.door.tarpit import Tarpit
from tests.plugins.door.house import HELLO, MAIL, TEXT, house, rcpt

GUESSES = tuple(f"guess{number}" for number in range(100))
DAY_S = 86_400


# ── before the greeting ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_peer_waits_once_and_again_after_a_week(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        waits = [(await here.talk(HELLO)).timeouts[0] for _ in range(2)]
        here.clock.at += 8 * DAY_S
        waits.append((await here.talk(HELLO)).timeouts[0])
    assert waits == [4.0, 300.0, 4.0]


async def test_who_brings_mail_need_not_wait(tmp_path: Path) -> None:
    async with house(tmp_path, greet_wait=4.0) as here:
        await here.talk(HELLO)
        here.clock.at += 6 * DAY_S
        await here.talk(HELLO, MAIL + rcpt("ana") + b"DATA\r\n", TEXT)
        here.clock.at += 6 * DAY_S
        assert (await here.talk(HELLO)).timeouts[0] == 300.0


@pytest.mark.parametrize(
    ("setting", "codes"), [("refuse", ["554", "503", "221"]), ("defer", ["421"]), ("accept", ["220", "250", "221"])]
)
async def test_who_speaks_before_the_greeting(tmp_path: Path, setting: str, codes: list[str]) -> None:
    async with house(tmp_path, early_talkers=setting) as here:
        assert await here.codes(b"QUIT\r\n", early=HELLO) == codes
        assert (await here.talk(HELLO)).timeouts[0] == 4.0  # it is as unknown as before
        (line,) = here.door.status()
    assert line[1] == "since the start 1 spoke too early, 0 came too fast, 0 were delayed"


@pytest.mark.parametrize(
    ("peer", "role"), [("127.0.0.1", "mx"), ("", "mx"), ("192.0.2.7", "submission"), ("192.0.2.7", "lmtp")]
)
async def test_who_is_trusted_and_who_logs_in_never_waits(tmp_path: Path, peer: str, role: str) -> None:
    async with house(tmp_path) as here:
        connection = await here.talk(b"QUIT\r\n", peer=peer, role=role)
    assert connection.answers[0].startswith(b"220 ")
    assert connection.timeouts == [300.0]


async def test_under_stress_the_wait_is_short_and_nobody_is_kept_on_purpose(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        here.stress()
        connection = await here.talk(HELLO, b"FOO\r\n" * 10)
    assert connection.timeouts[0] == 1.0
    assert here.clock.slept == []


async def test_a_peer_that_leaves_while_it_waits_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with house(tmp_path) as here:
        with caplog.at_level(logging.INFO):
            await here.talk(gone=True)
    assert caplog.records == []


# ── rates ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_connections_of_a_network_in_a_minute(tmp_path: Path) -> None:
    async with house(tmp_path, connections_per_minute=3, greet_wait=0.0) as here:
        first = [(await here.codes(peer=f"192.0.2.{number}"))[0] for number in range(1, 6)]
        other = (await here.codes(peer="198.51.100.1"))[0]
        here.clock.at += 20
        later = [(await here.codes(peer="192.0.2.77"))[0] for _ in range(2)]
    assert (first, other, later) == (["220", "220", "220", "421", "421"], "220", ["220", "421"])


async def test_connections_of_a_network_at_the_same_time(tmp_path: Path) -> None:
    async with house(tmp_path, connections_per_network=2, greet_wait=0.0) as here:
        sessions = [Session(f"s{number}", "mx", peer_ip=f"2001:db8:1:{number}::1") for number in range(4)]
        answers = [await here.door.smtp_connect(session) for session in sessions]
        assert [answer and answer.code for answer in answers] == [None, None, 421, 421]
        for session in sessions[1:]:
            here.door.leave(session)
        assert await here.door.smtp_connect(Session("s9", "mx", peer_ip="2001:db8:1::9")) is None


async def test_messages_and_recipients_of_a_network_in_a_minute(tmp_path: Path) -> None:
    async with house(tmp_path, messages_per_minute=2, recipients_per_minute=4, tarpit_after=100) as here:
        two = MAIL + rcpt("ana", "luis") + b"RSET\r\n"
        assert await here.codes(HELLO, two + two) == ["220", "250", *["250"] * 8]
        assert await here.codes(HELLO, two) == ["220", "250", "450", "503", "503", "250"]
        here.clock.at += 30
        assert await here.codes(HELLO, MAIL + rcpt("ana", "luis", "ana")) == ["220", "250", *["250"] * 3, "450"]
        assert len(await here.codes(HELLO, two, peer="198.51.100.9")) == 6


async def test_an_office_behind_one_address_and_a_big_provider_are_let_be(tmp_path: Path) -> None:
    """Fifty people's mail within a minute by the defaults, from one network, some of it to people who have left."""
    async with house(tmp_path) as here:
        for number in range(50):
            mail = MAIL + rcpt("ana", "luis", *(["gone"] if number % 5 == 0 else [])) + b"DATA\r\n"
            codes = await here.codes(HELLO, mail, TEXT, peer=f"192.0.2.{number % 8}")
            assert codes[-2:] == ["354", "250"]
        assert len(await here.office.inbox("ana@palomar.test")) == 50
        assert here.clock.slept == []


# ── the tarpit ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_who_errs_again_and_again_waits_longer_and_longer(tmp_path: Path) -> None:
    async with house(tmp_path, tarpit_most=7.0) as here:
        await here.talk(HELLO, b"FOO\r\n" * 9)
        assert here.clock.slept == [2.0, 4.0, 6.0, 7.0, 7.0, 7.0]
        await here.talk(HELLO, b"FOO\r\n" * 9, peer="127.0.0.1")
        assert len(here.clock.slept) == 6


async def test_only_so_many_are_kept_waiting() -> None:
    open_ = asyncio.Event()

    async def until_open(seconds: float) -> None:
        await open_.wait()

    tarpit = Tarpit(until_open)
    stuck = [asyncio.create_task(tarpit.hold(5.0, 3)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not await tarpit.hold(5.0, 3)
    stuck.pop().cancel()
    await asyncio.sleep(0)
    fourth = asyncio.create_task(tarpit.hold(5.0, 3))
    await asyncio.sleep(0)
    assert tarpit.held == 3
    open_.set()
    assert await asyncio.gather(*stuck, fourth) == [True] * 3
    assert tarpit.held == 0


# ── harvesters ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_harvester_is_shut_out_for_a_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with house(tmp_path) as here:
        heard = []
        for number in range(4):  # fewer guesses in each connection than the budget of errors has
            guesses = rcpt(*GUESSES[10 * number : 10 * number + 10])
            heard.append(await here.codes(HELLO, MAIL + guesses, peer=f"192.0.2.{number}"))
        assert heard[0] == heard[1] == ["220", "250", "250", *["550"] * 10]
        assert heard[2][-2:] == ["550", "421"]
        assert heard[3] == ["421"]
        assert await here.codes(HELLO, peer="198.51.100.1") == ["220", "250"]
        assert here.door.status()[0][1] == "1 networks are shut out for naming unknown recipients"
        here.clock.at += 901
        assert await here.codes(HELLO, MAIL + rcpt("ana")) == ["220", "250", "250", "250"]
    assert [record.message for record in caplog.records] == [
        "192.0.2.2 names unknown recipients by the dozen: its network is shut out for 900 s"
    ]


async def test_connections_that_are_open_end_too(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        session = Session("s1", "mx", peer_ip="192.0.2.99")
        await here.door.smtp_connect(session)
        session.stash[STASH].network.shut_until = here.clock.at + 1
        refusal = await here.door.smtp_sender(session)
        assert refusal is not None
        goodbye = await here.door.smtp_refused(session, refusal)
        assert (refusal.code, goodbye and goodbye.code) == (450, 421)


# ── an attack ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_attack_from_a_hundred_thousand_networks(tmp_path: Path) -> None:
    """Half speak too early, all guess; nothing grows without bound, and a known peer in between is served."""
    async with house(tmp_path) as here:
        door = here.door
        known = Session("known", "mx", peer_ip="198.51.100.1")

        async def silent(seconds: float) -> bool:
            return True

        async def hasty(seconds: float) -> bool:
            return False

        for number in range(100_000):
            peer = f"{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.7"
            session = Session("s", "mx", peer_ip=peer, quiet=hasty if number % 2 else silent)
            await door.smtp_connect(session)
            door.leave(session)
            if number % 5000 == 0:
                assert await door.smtp_connect(known) is None
                door.leave(known)
        assert _sizes(door) == (MAX_NETWORKS, MAX_PASSES)


def _sizes(door: Any) -> tuple[int, int]:
    assert isinstance(door, Door)
    return len(door._networks), len(door._passes)
