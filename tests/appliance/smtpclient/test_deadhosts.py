"""Hosts that do not answer: known to all who share them, asked again by one at a time, forgotten when they are back."""

from __future__ import annotations

import asyncio

import pytest

from appliance.smtpclient import DeadHosts, Hop, HopError, Timeouts, reach
from appliance.smtpclient.deadhosts import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_HOSTS, PROBE_S
from tests.appliance.smtpclient.fake_server import SILENCE, FakeServer, always, plain_contexts, running

HOST = ("192.0.2.1", 25)


def test_pauses_grow_and_an_answer_ends_them() -> None:
    dead, now, pauses = DeadHosts(), 1000.0, []
    assert not dead.why_not(*HOST, now)
    for _ in range(8):
        dead.failed(*HOST, now, now + 1, "no answer")
        now += 1
        assert dead.why_not(*HOST, now) == "no answer"
        begun = now
        while dead.why_not(*HOST, now):
            now += 1
        pauses.append(now - begun)
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    dead.answered(*HOST)
    assert not dead.why_not(*HOST, now)
    assert not dead.why_not(*HOST, now)


def test_one_finds_out_and_another_if_that_one_never_says() -> None:
    dead = DeadHosts()
    dead.failed(*HOST, 0, 1, "no answer")
    now = 1 + FIRST_PAUSE_S
    assert not dead.why_not(*HOST, now)
    assert dead.why_not(*HOST, now)
    assert dead.why_not(*HOST, now + PROBE_S - 1)
    assert not dead.why_not(*HOST, now + PROBE_S)


def test_attempts_side_by_side_count_once() -> None:
    dead = DeadHosts()
    for ended in (10, 11, 12):
        dead.failed(*HOST, 5, ended, "no answer")
    assert dead.why_not(*HOST, 10 + FIRST_PAUSE_S - 1)
    assert not dead.why_not(*HOST, 10 + FIRST_PAUSE_S)


def test_the_memory_is_bounded_and_others_are_not_in_it() -> None:
    dead = DeadHosts()
    for number in range(MAX_HOSTS + 5):
        dead.failed(f"host{number}", 25, number, number + 0.5, "no answer")
    assert len(dead) == MAX_HOSTS
    assert not dead.why_not("host4", 25, 5)
    assert dead.why_not(f"host{MAX_HOSTS}", 25, MAX_HOSTS)
    assert not dead.why_not(f"host{MAX_HOSTS}", 26, MAX_HOSTS)
    dead.forgive()
    assert len(dead) == 0


async def ask(dead: DeadHosts, port: int, *addresses: str, greeting: float = 60.0) -> str:
    """Which address answers."""
    hop = Hop(host="mx.test", port=port, own_name="me.test", tls="off", timeouts=Timeouts(greeting=greeting))
    clients = reach(hop, addresses, plain_contexts, stagger_s=0.02, dead=dead)
    try:
        client = await anext(clients)
        await client.quit()
        return client.connection.peer_ip
    finally:
        await clients.aclose()


async def test_a_host_that_refuses_connections_is_passed_over() -> None:
    dead = DeadHosts()
    async with running(FakeServer()) as server:
        assert await ask(dead, server.port, "127.0.0.2", "127.0.0.1") == "127.0.0.1"
        assert len(dead) == 1
        async with running(FakeServer(port=server.port), "127.0.0.2") as back:
            assert await ask(dead, server.port, "127.0.0.2", "127.0.0.1") == "127.0.0.1"
            assert back.sessions == []
            with pytest.raises(HopError, match="not asked again so soon: cannot connect"):
                await ask(dead, server.port, "127.0.0.2")
            dead.forgive()
            assert await ask(dead, server.port, "127.0.0.2", "127.0.0.1") == "127.0.0.2"


async def test_a_host_that_says_nothing_is_dead_and_one_that_is_busy_is_not() -> None:
    dead = DeadHosts()
    async with running(FakeServer(script=always(CONNECT=SILENCE))) as mute:
        with pytest.raises(HopError, match="no answer"):
            await ask(dead, mute.port, "127.0.0.1", greeting=0.05)
        assert len(dead) == 1
        dead.forgive()
    async with running(FakeServer(script=always(CONNECT="421 busy"))) as busy:
        for _ in range(2):
            with pytest.raises(HopError, match="busy"):
                await ask(dead, busy.port, "127.0.0.1")
        assert len(dead) == 0


async def test_what_our_own_network_lacks_is_no_fault_of_theirs() -> None:
    dead = DeadHosts()
    hop = Hop(host="mx.test", port=25, own_name="me.test", tls="off", local_addresses=("192.0.2.77",))
    clients = reach(hop, ["127.0.0.1"], plain_contexts, dead=dead)
    async with asyncio.timeout(60):
        with pytest.raises(HopError, match="cannot connect"):
            await anext(clients)
    assert len(dead) == 0
