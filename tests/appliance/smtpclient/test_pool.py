"""Connections are used again while they are good, replaced when they went stale, and ended in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.smtpclient import Hop, HopError, SmtpClient, SmtpPool, Timeouts, reach
from tests.appliance.smtpclient.fake_server import DROP, FULL, SILENCE, FakeServer, always, plain_contexts, running

MESSAGE = Message.parse(b"Subject: x\r\n\r\nx\r\n")
TO = [Recipient(Address("a", "b.test"))]


async def send(
    pool: SmtpPool,
    *servers: FakeServer,
    key: str = "b.test",
    timeouts: Timeouts = Timeouts(),  # noqa: B008
) -> str:
    async def source() -> AsyncGenerator[SmtpClient, None]:
        failure: HopError | None = None
        for server in servers:
            hop = Hop(host="fake.example", port=server.port, own_name="me.example", tls="off", timeouts=timeouts)
            try:
                async for client in reach(hop, ["127.0.0.1"], plain_contexts):
                    failure = None
                    yield client
            except HopError as error:
                failure = error
        if failure is not None:
            raise failure

    outcomes = await pool.deliver(key, source, Envelope(None), TO, MESSAGE)
    return outcomes[0].status


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.001)


async def test_one_connection_serves_many_messages_of_one_destination() -> None:
    pool = SmtpPool()
    async with running(FakeServer()) as server:
        for key in ("b.test", "b.test", "c.test", "b.test"):
            assert await send(pool, server, key=key) == "delivered"
        assert len(server.sessions) == 2
        assert pool.idle == 2
        await pool.close()
        assert pool.idle == 0
        assert [verbs[-1] for verbs in server.verbs] == ["QUIT", "QUIT"]


async def test_a_connection_is_ended_after_its_share_of_messages() -> None:
    pool = SmtpPool(max_messages=2)
    async with running(FakeServer()) as server:
        for _ in range(5):
            await send(pool, server)
        assert [verbs.count("MAIL") for verbs in server.verbs] == [2, 2, 1]
        await pool.close()


async def test_an_old_connection_is_ended() -> None:
    pool = SmtpPool(max_age_s=0)
    async with running(FakeServer()) as server:
        await send(pool, server)
        await send(pool, server)
        assert len(server.sessions) == 2
        await pool.close()


async def test_idle_connections_are_ended() -> None:
    pool = SmtpPool(idle_s=0.02)
    async with running(FakeServer()) as server:
        await send(pool, server)
        await until(lambda: server.open_now == 0)
        assert server.verbs[0][-1] == "QUIT"
        assert pool.idle == 0
        await pool.close()


async def test_only_so_many_are_kept() -> None:
    pool = SmtpPool(max_idle=2)
    async with running(FakeServer()) as server:
        for key in "abc":
            await send(pool, server, key=key)
        assert pool.idle == 2
        await until(lambda: server.open_now == 2)
        assert server.verbs[0][-1] == "QUIT"  # the oldest
        await pool.close()


async def test_a_connection_that_the_server_has_closed_meanwhile_is_replaced() -> None:
    pool = SmtpPool()
    seen = 0

    def script(verb: str, argument: str) -> str | None:
        nonlocal seen
        seen += verb == "MAIL"
        return DROP if verb == "MAIL" and seen == 2 else None

    async with running(FakeServer(script=script)) as server:
        assert await send(pool, server) == "delivered"
        assert await send(pool, server) == "delivered"
        assert len(server.sessions) == 2
        assert len(server.messages) == 2
        await pool.close()


async def test_the_next_host_is_asked_when_one_gives_no_verdict() -> None:
    pool = SmtpPool()
    async with running(FakeServer(script=always(MAIL="421 4.3.2 no"))) as first, running(FakeServer()) as second:
        assert await send(pool, first, second) == "delivered"
        assert (len(first.messages), len(second.messages)) == (0, 1)
        with pytest.raises(HopError, match=r"421 4\.3\.2 no"):
            await send(pool, first, key="other")
        await pool.close()


async def test_a_verdict_is_final_whatever_other_hosts_would_say() -> None:
    pool = SmtpPool()
    async with running(FakeServer(script=always(RCPT="550 5.1.1 no"))) as first, running(FakeServer()) as second:
        assert await send(pool, first, second) == "failed"
        assert second.sessions == []
        await pool.close()


async def deliver(pool: SmtpPool, server: FakeServer, *addresses: str) -> list[str]:
    async def source() -> AsyncGenerator[SmtpClient, None]:
        hop = Hop(host="fake.example", port=server.port, own_name="me.example", tls="off")
        async for client in reach(hop, ["127.0.0.1"], plain_contexts):
            yield client

    recipients = [Recipient(Address.parse(text)) for text in addresses]
    outcomes = await pool.deliver("hop", source, Envelope(None), recipients, MESSAGE)
    assert [outcome.recipient for outcome in outcomes] == recipients
    return [outcome.status for outcome in outcomes]


async def test_what_one_connection_has_no_room_for_goes_over_further_ones() -> None:
    pool = SmtpPool()
    async with running(FakeServer(("PIPELINING", "LIMITS RCPTDOMAINMAX=1"))) as server:
        assert await deliver(pool, server, "a@b.test", "b@c.test", "c@b.test", "d@d.test") == ["delivered"] * 4
        assert [one.recipients for one in server.messages] == [
            ["TO:<a@b.test>", "TO:<c@b.test>"],
            ["TO:<b@c.test>"],
            ["TO:<d@d.test>"],
        ]
        assert len(server.sessions) == 3
        await pool.close()


async def test_a_connection_is_given_no_more_mail_than_its_host_takes() -> None:
    pool = SmtpPool()
    async with running(FakeServer(("LIMITS MAILMAX=2",))) as server:
        for _ in range(5):
            assert await send(pool, server) == "delivered"
        assert [verbs.count("MAIL") for verbs in server.verbs] == [2, 2, 1]
        await pool.close()


async def test_a_host_whose_next_connection_fails_is_tried_again_later() -> None:
    pool = SmtpPool()
    greetings = iter([None, "421 4.3.2 busy"])

    def script(verb: str, argument: str) -> str | None:
        return next(greetings) if verb == "CONNECT" else None

    server = FakeServer(("LIMITS MAILMAX=1 RCPTMAX=1",), script)
    async with running(server):
        assert await deliver(pool, server, "a@b.test", "b@b.test") == ["delivered", "deferred"]
        await pool.close()


CUT = (*FULL, "CHUNKING")


async def test_a_server_that_was_cut_off_is_not_waited_for_with_a_message() -> None:
    """After a while RSET asks first, and waits for seconds where MAIL would for minutes; a new connection follows."""
    cut: list[str] = []

    def script(verb: str, argument: str) -> str | None:
        return SILENCE if verb in cut else None

    pool = SmtpPool(ask_after_s=0)
    timeouts = Timeouts(reset=0.1, mail=3600, rcpt=3600, data=3600, text=3600)
    async with running(FakeServer(script=script)) as server, asyncio.timeout(60):
        for _ in range(2):
            assert await send(pool, server, timeouts=timeouts) == "delivered"
        assert [verbs.count("RSET") for verbs in server.verbs] == [1]
        cut.append("RSET")
        assert await send(pool, server, timeouts=timeouts) == "delivered"
        assert [verbs.count("MAIL") for verbs in server.verbs] == [2, 1]
        assert len(server.messages) == 3
        await pool.close()


async def test_connections_that_are_as_old_go_with_one_that_was_cut_off() -> None:
    pool = SmtpPool(ask_after_s=0)
    timeouts = Timeouts(reset=0.1)
    async with running(FakeServer(script=always(RSET=SILENCE))) as server, asyncio.timeout(60):
        await asyncio.gather(*(send(pool, server, timeouts=timeouts) for _ in range(4)))
        assert pool.idle == 4
        assert await send(pool, server, timeouts=timeouts) == "delivered"
        assert pool.idle == 1
        await pool.close()


async def test_a_text_that_was_sent_along_is_not_sent_again_at_once() -> None:
    """It may have been taken, whatever became of the answers: later, by the queue's schedule, but never right away."""
    armed: list[str] = []

    def script(verb: str, argument: str) -> str | None:
        return DROP if verb in armed else None

    pool = SmtpPool()
    async with running(FakeServer(extensions=CUT, script=script)) as server:
        assert await send(pool, server) == "delivered"
        armed.append("MAIL")
        assert await send(pool, server) == "deferred"
        assert len(server.sessions) == 1
        await pool.close()
