"""SmtpClient against a server that does what each test needs: outcomes, extensions, and every kind of failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.smtpclient import Hop, HopError, SmtpClient, Timeouts, reach
from appliance.smtpclient.transaction import MAX_RECIPIENTS
from tests.appliance.smtpclient.fake_server import DROP, FULL, SILENCE, FakeServer, always, plain_contexts, running

TEXT = b"Subject: hello\r\n\r\n.dot\r\nbody\r\n"


def hop(server: FakeServer, **terms: object) -> Hop:
    values: dict[str, object] = {"tls": "off", "own_name": "me.example", "lmtp": server.lmtp, **terms}
    return Hop(host="fake.example", port=server.port, **values)  # type: ignore[arg-type]


@asynccontextmanager
async def connected(server: FakeServer, **terms: object) -> AsyncIterator[SmtpClient]:
    async with running(server):
        clients = reach(hop(server, **terms), ["127.0.0.1"], plain_contexts)
        client = await anext(clients)
        await clients.aclose()
        try:
            yield client
        finally:
            client.abort()


def envelope(sender: str | None = "ana@palomar.test", **parameters: object) -> Envelope:
    return Envelope(Address.parse(sender) if sender else None, **parameters)  # type: ignore[arg-type]


def to(*addresses: str, **parameters: object) -> list[Recipient]:
    return [Recipient(Address.parse(text), **parameters) for text in addresses]  # type: ignore[arg-type]


def message(raw: bytes = TEXT) -> Message:
    return Message.parse(raw)


def short(outcomes: list[Outcome]) -> list[str]:
    return [f"{o.recipient.address.local} {o.status} {o.reply.code} {o.reply.enhanced}" for o in outcomes]


@pytest.mark.parametrize("extensions", [FULL, (*FULL, "CHUNKING"), ("CHUNKING",), ()], ids=str)
@pytest.mark.parametrize("size", [10, 200_000])
async def test_messages_arrive_whole_and_the_connection_is_used_again(extensions: tuple[str, ...], size: int) -> None:
    raw = TEXT + b".\r\n" * (size // 3)
    async with connected(FakeServer(extensions)) as client:
        for _ in range(2):
            outcomes = await client.send(envelope(), to("one@b.test", "two@b.test"), message(raw))
            assert short(outcomes) == ["one delivered 250 2.0.0", "two delivered 250 2.0.0"]
            assert outcomes[0].peer.startswith("fake.example[127.0.0.1]:")
        server = client.hop
        assert client.usable
    assert server.host == "fake.example"


async def test_what_arrives_is_what_was_sent() -> None:
    for extensions in (FULL, (*FULL, "CHUNKING"), ()):
        server = FakeServer(extensions)
        async with connected(server) as client:
            await client.send(envelope(), to("one@b.test", "two@b.test"), message())
        assert [stored.data for stored in server.messages] == [TEXT]
        assert [len(stored.recipients) for stored in server.messages] == [2]


async def test_each_recipient_gets_the_servers_own_word() -> None:
    def script(verb: str, argument: str) -> str | None:
        if verb == "RCPT":
            return {"TO:<no@b.test>": "550 5.1.1 unknown", "TO:<later@b.test>": "450 4.2.0 greylisted"}.get(argument)
        return None

    for extensions in (FULL, (*FULL, "CHUNKING"), ()):
        server = FakeServer(extensions, script)
        async with connected(server) as client:
            outcomes = await client.send(envelope(), to("yes@b.test", "no@b.test", "later@b.test"), message())
        assert short(outcomes) == ["yes delivered 250 2.0.0", "no failed 550 5.1.1", "later deferred 450 4.2.0"]
        assert server.messages[0].recipients == ["TO:<yes@b.test>"]


async def test_no_recipient_accepted_sends_no_text_and_the_next_message_starts_clean() -> None:
    def script(verb: str, argument: str) -> str | None:
        return "550 5.1.1 unknown" if verb == "RCPT" and "no@" in argument else None

    for extensions in (FULL, (*FULL, "CHUNKING"), ("CHUNKING",), ()):
        server = FakeServer(extensions, script)
        async with connected(server) as client:
            assert short(await client.send(envelope(), to("no@b.test"), message())) == ["no failed 550 5.1.1"]
            assert short(await client.send(envelope(), to("yes@b.test"), message())) == ["yes delivered 250 2.0.0"]
        assert len(server.messages) == 1
        assert "RSET" in server.commands


async def test_a_server_that_wants_text_for_nobody_gets_an_empty_one() -> None:
    def script(verb: str, argument: str) -> str | None:
        return {"RCPT": "550 no", "DATA": "354 go on"}.get(verb)

    server = FakeServer(FULL, script)
    async with connected(server) as client:
        # the fake then reads the lone dot as a command; its reply is that of the text
        script_text = server.script
        server.script = lambda verb, argument: "554 5.5.1 nobody" if verb == "." else script_text(verb, argument)
        assert short(await client.send(envelope(), to("a@b.test"), message())) == ["a failed 550 "]
        assert client.usable
    assert server.commands[-1] == "."


@pytest.mark.parametrize(
    ("verb", "reply", "outcome"),
    [
        ("MAIL", "452 4.3.1 full", "a deferred 452 4.3.1"),
        ("MAIL", "550 5.7.1 not you", "a failed 550 5.7.1"),
        ("DATA", "451 4.3.0 not now", "a deferred 451 4.3.0"),
        ("DATA", "554 5.5.1 no", "a failed 554 5.5.1"),
        ("DATA", "250 what", "a deferred 451 4.5.0"),
        ("TEXT", "451 4.7.1 not now", "a deferred 451 4.7.1"),
        ("TEXT", "550 5.7.1 spam", "a failed 550 5.7.1"),
        ("RCPT", "354 what", "a deferred 451 4.5.0"),
    ],
)
@pytest.mark.parametrize("extensions", [FULL, ()], ids=["pipelining", "plain"])
async def test_refusals(verb: str, reply: str, outcome: str, extensions: tuple[str, ...]) -> None:
    server = FakeServer(extensions, always(**{verb: reply}))
    async with connected(server) as client:
        assert short(await client.send(envelope(), to("a@b.test"), message())) == [outcome]
        server.script = always()
        if client.usable:
            assert short(await client.send(envelope(), to("a@b.test"), message())) == ["a delivered 250 2.0.0"]


async def test_too_many_recipients_go_in_further_transactions() -> None:
    taken = 0

    def script(verb: str, argument: str) -> str | None:
        nonlocal taken
        taken = 0 if verb == "MAIL" else taken + (verb == "RCPT")
        return "452 4.5.3 too many" if verb == "RCPT" and taken > 2 else None

    server = FakeServer(FULL, script)
    names = [f"r{n}@b.test" for n in range(5)]
    async with connected(server) as client:
        outcomes = await client.send(envelope(), to(*names), message())
    assert short(outcomes) == [f"r{n} delivered 250 2.0.0" for n in range(5)]
    assert [len(stored.recipients) for stored in server.messages] == [2, 2, 1]


async def test_a_server_without_room_is_not_asked_forever() -> None:
    server = FakeServer(FULL, always(RCPT="452 4.3.1 no room"))
    async with connected(server) as client:
        assert short(await client.send(envelope(), to("a@b.test"), message())) == ["a deferred 452 4.3.1"]


async def test_many_recipients_are_split() -> None:
    server = FakeServer()
    async with connected(server) as client:
        outcomes = await client.send(envelope(), to(*[f"r{n}@b.test" for n in range(MAX_RECIPIENTS + 5)]), message())
    assert len(outcomes) == MAX_RECIPIENTS + 5
    assert [len(stored.recipients) for stored in server.messages] == [MAX_RECIPIENTS, 5]


# ── parameters ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_dsn_parameters_pass_through_where_the_hop_takes_them() -> None:
    recipients = to("a@b.test", notify=frozenset({"SUCCESS", "FAILURE"}), orcpt="rfc822;a+b@old.test")
    asked = envelope(ret="HDRS", envid="id=1")
    for extensions, relayed in ((FULL, True), (("PIPELINING",), False)):
        server = FakeServer(extensions)
        async with connected(server) as client:
            outcomes = await client.send(asked, recipients, message())
        assert outcomes[0].relayed_dsn is relayed
        rcpt = "TO:<a@b.test>" + (" NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;a+2Bb@old.test" if relayed else "")
        mail = "FROM:<ana@palomar.test>" + (f" SIZE={len(TEXT)} RET=HDRS ENVID=id+3D1" if relayed else "")
        assert (server.messages[0].mail, server.messages[0].recipients) == (mail, [rcpt])


async def test_eight_bit_text_is_declared_or_refused() -> None:
    raw = "Subject: x\r\n\r\nñ\r\n".encode()
    for extensions, outcome in ((FULL, "a delivered 250 2.0.0"), (("PIPELINING",), "a failed 550 5.6.3")):
        server = FakeServer(extensions)
        async with connected(server) as client:
            assert short(await client.send(envelope(body="8BITMIME"), to("a@b.test"), message(raw))) == [outcome]
        assert [stored.mail for stored in server.messages] == [
            f"FROM:<ana@palomar.test> SIZE={len(raw)} BODY=8BITMIME"
        ][: len(server.messages)]
    async with connected(FakeServer(())) as client:  # declared, but it is none
        assert short(await client.send(envelope(body="8BITMIME"), to("a@b.test"), message())) == [
            "a delivered 250 2.0.0"
        ]


async def test_binary_needs_both_extensions() -> None:
    raw = b"Subject: x\r\n\r\na\rb\nc\0\r\n"
    binary = (*FULL, "CHUNKING", "BINARYMIME")
    for extensions, outcome in ((binary, "a delivered 250 2.0.0"), (FULL, "a failed 550 5.6.3")):
        server = FakeServer(extensions)
        async with connected(server) as client:
            assert short(await client.send(envelope(body="BINARYMIME"), to("a@b.test"), message(raw))) == [outcome]
        assert [stored.data for stored in server.messages] == [raw][: len(server.messages)]


async def test_utf8_addresses_go_where_they_are_understood() -> None:
    recipients = to("ñ@b.test", "b@ñandu.test", "c@b.test")
    server = FakeServer()
    async with connected(server) as client:
        assert [o.status for o in await client.send(envelope(), recipients, message())] == ["delivered"] * 3
    assert "SMTPUTF8" in server.messages[0].mail
    server = FakeServer(())
    async with connected(server) as client:
        outcomes = await client.send(envelope(), recipients, message())
    assert short(outcomes) == ["ñ failed 553 5.6.7", "b delivered 250 2.0.0", "c delivered 250 2.0.0"]
    assert server.messages[0].recipients == ["TO:<b@xn--andu-fqa.test>", "TO:<c@b.test>"]


async def test_utf8_sender_and_header_need_smtputf8_for_everybody() -> None:
    async with connected(FakeServer(())) as client:
        assert short(await client.send(envelope("ñ@b.test"), to("a@b.test"), message())) == ["a failed 550 5.6.7"]
        utf8 = message("Subject: ñ\r\n\r\nx\r\n".encode())
        asked = envelope(smtputf8=True)
        assert short(await client.send(asked, to("a@b.test", "b@b.test"), utf8)) == [
            "a failed 550 5.6.9",
            "b failed 550 5.6.9",
        ]
        assert client.usable


async def test_a_message_above_the_hops_size_is_not_sent() -> None:
    server = FakeServer(("SIZE 20",))
    async with connected(server) as client:
        assert short(await client.send(envelope(), to("a@b.test"), message())) == ["a failed 552 5.3.4"]
    assert server.verbs == [["EHLO"]]


@pytest.mark.parametrize("size", [10, 200_000])
@pytest.mark.parametrize("extensions", [FULL, (*FULL, "CHUNKING"), ()], ids=str)
async def test_a_bare_lf_never_leaves(size: int, extensions: tuple[str, ...]) -> None:
    raw = b"Subject: x\r\n\r\n" + b"x\r\n" * size + b"\n.\r\nMAIL FROM:<evil@b.test>\r\n"
    server = FakeServer(extensions)
    async with connected(server) as client:
        assert short(await client.send(envelope(), to("a@b.test"), message(raw))) == ["a failed 554 5.6.0"]
    assert server.messages == []


async def test_no_parameter_can_become_a_command() -> None:
    recipients = [Recipient(Address("a\r\nRCPT TO:<x@y.z>", "b.test"))]
    server = FakeServer()
    async with connected(server) as client:
        with pytest.raises(ValueError, match="control character"):
            await client.send(envelope(), recipients, message())
        assert not client.usable
    assert not any("x@y.z" in command for command in server.commands)


# ── failures of the connection ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reply", [DROP, "421 4.3.2 going down", "garbage"])
async def test_a_hop_that_fails_before_any_verdict_is_no_verdict(reply: str) -> None:
    server = FakeServer((), always(MAIL=reply))
    async with connected(server) as client:
        with pytest.raises(HopError) as caught:
            await client.send(envelope(), to("a@b.test"), message())
        assert caught.value.reply.temporary
        assert not client.usable


async def test_a_421_between_recipients_keeps_the_verdicts_given() -> None:
    def script(verb: str, argument: str) -> str | None:
        if verb == "RCPT":
            return {"TO:<a@b.test>": "550 5.1.1 no", "TO:<c@b.test>": "421 4.7.0 enough\r\n"}.get(argument)
        return None

    async with connected(FakeServer((), script)) as client:
        outcomes = await client.send(envelope(), to("a@b.test", "b@b.test", "c@b.test"), message())
        assert short(outcomes) == ["a failed 550 5.1.1", "b deferred 421 4.7.0", "c deferred 421 4.7.0"]
        assert not client.usable


@pytest.mark.parametrize("extensions", [FULL, (*FULL, "CHUNKING"), ()], ids=str)
async def test_silence_after_the_text_is_deferred_not_tried_elsewhere(extensions: tuple[str, ...]) -> None:
    server = FakeServer(extensions, always(TEXT=DROP))
    async with connected(server) as client:
        assert short(await client.send(envelope(), to("a@b.test"), message())) == ["a deferred 451 4.4.2"]


async def test_time_outs() -> None:
    quick = Timeouts(rcpt=0.05)
    async with connected(FakeServer((), always(RCPT=SILENCE)), timeouts=quick) as client:
        with pytest.raises(HopError, match=r"no answer to RCPT within 0\.05 s"):
            await client.send(envelope(), to("a@b.test"), message())


async def test_cancelling_leaves_no_half_used_connection() -> None:
    server = FakeServer(FULL, always(DATA=SILENCE))
    async with connected(server) as client:
        task = asyncio.create_task(client.send(envelope(), to("a@b.test"), message()))
        while "DATA" not in server.commands:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not client.usable


# ── LMTP ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("extensions", [FULL, (*FULL, "CHUNKING"), ()], ids=str)
async def test_lmtp_gives_every_recipient_its_verdict_at_the_end(extensions: tuple[str, ...]) -> None:
    def script(verb: str, argument: str) -> str | None:
        if verb == "RCPT" and "unknown@" in argument:
            return "550 5.1.1 unknown"
        return "452 4.2.2 full" if verb == "TEXT" and "full@" in argument else None

    server = FakeServer(extensions, script, lmtp=True)
    async with connected(server) as client:
        for _ in range(2):
            outcomes = await client.send(envelope(), to("a@b.test", "full@b.test", "unknown@b.test"), message())
            assert short(outcomes) == ["a delivered 250 2.0.0", "full deferred 452 4.2.2", "unknown failed 550 5.1.1"]
    assert server.verbs[0][0] == "LHLO"


async def test_lmtp_keeps_the_verdicts_that_came_before_the_line_broke() -> None:
    def script(verb: str, argument: str) -> str | None:
        return DROP if verb == "TEXT" and "b@" in argument else None

    async with connected(FakeServer(FULL, script, lmtp=True)) as client:
        outcomes = await client.send(envelope(), to("a@b.test", "b@b.test"), message())
    assert short(outcomes) == ["a delivered 250 2.0.0", "b deferred 451 4.4.2"]
