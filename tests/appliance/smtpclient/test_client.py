"""SmtpClient against a server that does what each test needs: outcomes, extensions, and every kind of failure."""

from __future__ import annotations

import asyncio
import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import Outcome
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.smtpclient import Hop, HopError, Login, SmtpClient, Timeouts, reach
from appliance.smtpclient.limits import NEXT_CONNECTION
from appliance.smtpclient.prepare import Prepared, prepare
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


def unknown_nobody(verb: str, argument: str) -> str | None:
    return "550 5.1.1 who?" if verb == "RCPT" and "nobody" in argument else None


async def test_a_server_is_asked_about_recipients_without_sending_anything() -> None:
    server = FakeServer(script=unknown_nobody)
    async with connected(server) as client:
        for address, code in (("one@b.test", 250), ("nobody@b.test", 550), ("josé@b.test", 250)):
            assert (await client.call_out(*to(address))).code == code
        assert short(await client.send(envelope(), to("one@b.test"), message())) == ["one delivered 250 2.0.0"]
    assert [line for line in server.sessions[0] if not line.startswith("EHLO")][:9] == [
        "MAIL FROM:<>", "RCPT TO:<one@b.test>", "RSET", "MAIL FROM:<>", "RCPT TO:<nobody@b.test>",
        "RSET", "MAIL FROM:<> SMTPUTF8", "RCPT TO:<josé@b.test>", "RSET",
    ]  # fmt: skip
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    ("server", "address", "code"),
    [
        (FakeServer(script=always(MAIL="550 5.7.1 no null sender")), "one@b.test", 550),
        (FakeServer(script=always(MAIL="451 4.7.1 later")), "one@b.test", 451),
        (FakeServer(script=always(RCPT=DROP)), "one@b.test", 451),
        (FakeServer(()), "josé@b.test", 553),
    ],
)
async def test_a_server_that_is_not_asked_gives_no_verdict(server: FakeServer, address: str, code: int) -> None:
    async with connected(server) as client:
        with pytest.raises(HopError) as caught:
            await client.call_out(*to(address))
    assert caught.value.reply.code == code


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


async def test_eight_bit_text_is_declared_or_converted() -> None:
    raw = "DKIM-Signature: v=1; d=b.test; bh=x\r\nSubject: x\r\n\r\nñandu nu\r\n".encode()
    server = FakeServer()
    async with connected(server) as client:
        outcomes = await client.send(envelope(body="8BITMIME"), to("a@b.test"), message(raw))
    assert (outcomes[0].note, server.messages[0].data) == ("", raw)
    assert server.messages[0].mail == f"FROM:<ana@palomar.test> SIZE={len(raw)} BODY=8BITMIME"
    for extensions in (("PIPELINING", "SIZE"), ("PIPELINING", "SIZE", "CHUNKING")):
        server = FakeServer(extensions)
        async with connected(server) as client:
            outcomes = await client.send(envelope(body="8BITMIME"), to("a@b.test"), message(raw))
        taken = server.messages[0]
        assert outcomes[0].status == "delivered"
        assert outcomes[0].note.endswith("for a host without 8BITMIME, which breaks the DKIM signature of b.test")
        assert taken.data.startswith(b"DKIM-Signature: v=1; d=b.test; bh=x\r\nSubject: x\r\nMIME-Version: 1.0\r\n")
        assert taken.data.endswith(b"\r\n\r\n=C3=B1andu nu\r\n")
        assert taken.mail == f"FROM:<ana@palomar.test> SIZE={len(taken.data)}"
    async with connected(FakeServer(())) as client:  # declared, but it is none
        outcomes = await client.send(envelope(body="8BITMIME"), to("a@b.test"), message())
    assert (short(outcomes), outcomes[0].note) == (["a delivered 250 2.0.0"], "")


async def test_large_eight_bit_text_is_converted_too() -> None:
    raw = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    raw += "mañana será otro día\r\n".encode() * 20_000
    server = FakeServer(())
    async with connected(server) as client:
        assert [one.status for one in await client.send(envelope(), to("a@b.test"), message(raw))] == ["delivered"]
    taken = email.message_from_bytes(server.messages[0].data)
    assert taken.get_payload(decode=True) == raw.partition(b"\r\n\r\n")[2]


async def test_what_cannot_be_converted_goes_back_with_the_reason() -> None:
    signed = b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\n\r\n\xff\r\n--b\r\n\r\nsig\r\n--b--\r\n'
    server = FakeServer(())
    async with connected(server) as client:
        (outcome,) = await client.send(envelope(body="8BITMIME"), to("a@b.test"), message(signed))
        assert short([outcome]) == ["a failed 550 5.6.3"]
        assert "a signed part is not in 7bit" in outcome.reply.text
        binary = envelope(body="BINARYMIME")
        (outcome,) = await client.send(binary, to("a@b.test"), message(b"Subject: \xff\r\n\r\n\0"))
        assert "its header is not ASCII" in outcome.reply.text
    assert server.messages == []


async def test_binary_needs_both_extensions_or_is_converted() -> None:
    raw = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\na\rb\nc\0\xff"
    for extensions, words in (((*FULL, "CHUNKING", "BINARYMIME"), "BODY=BINARYMIME"), (FULL, ""), ((), "")):
        server = FakeServer(extensions)
        async with connected(server) as client:
            outcomes = await client.send(envelope(body="BINARYMIME"), to("a@b.test"), message(raw))
        assert short(outcomes) == ["a delivered 250 2.0.0"]
        taken = server.messages[0]
        assert ("BODY=" in taken.mail, words in taken.mail) == (bool(words), True)
        assert email.message_from_bytes(taken.data).get_payload(decode=True) == b"a\rb\nc\0\xff"
        assert (taken.data == raw) is bool(words)


async def test_utf8_in_the_header_of_a_part_needs_smtputf8() -> None:
    part = "--b\r\nContent-Description: ñ\r\n\r\nx\r\n--b--\r\n".encode()
    raw = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + part
    for extensions, outcome in ((FULL, "a delivered 250 2.0.0"), (("8BITMIME",), "a failed 550 5.6.9")):
        async with connected(FakeServer(extensions)) as client:
            asked = envelope(smtputf8=True, body="8BITMIME")
            assert short(await client.send(asked, to("a@b.test"), message(raw))) == [outcome]


async def test_smtputf8_is_not_asked_for_where_all_is_ascii() -> None:
    server = FakeServer(())
    async with connected(server) as client:
        asked = envelope(smtputf8=True)
        assert short(await client.send(asked, to("a@b.test"), message())) == ["a delivered 250 2.0.0"]
    assert server.messages[0].mail == "FROM:<ana@palomar.test>"


# ── terms ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def prepared(extensions: dict[str, str], asked: Envelope, *recipients: Recipient) -> Prepared:
    return prepare(extensions, asked, recipients or to("a@b.test"), message(), now=1000.0)


def test_the_time_that_is_left_goes_on() -> None:
    asked = envelope(deliver_by=1098, by_mode="RT")
    assert prepared({"DELIVERBY": ""}, asked).mail == "FROM:<ana@palomar.test> BY=98;RT"
    assert prepared({"DELIVERBY": "98"}, asked).mail == "FROM:<ana@palomar.test> BY=98;RT"
    late = envelope(deliver_by=990, by_mode="N")
    assert prepared({"DELIVERBY": "240"}, late).mail == "FROM:<ana@palomar.test> BY=-10;N"
    assert prepared({}, late).mail == "FROM:<ana@palomar.test>"


@pytest.mark.parametrize(
    ("extensions", "deliver_by", "status"),
    [({}, 1098, "5.3.3"), ({"DELIVERBY": "99"}, 1098, "5.3.3"), ({"DELIVERBY": ""}, 1000, "5.4.7")],
)
def test_what_is_to_come_back_late_goes_only_where_that_is_promised(
    extensions: dict[str, str], deliver_by: int, status: str
) -> None:
    refused = prepared(extensions, envelope(deliver_by=deliver_by, by_mode="R")).refused
    assert [reply.enhanced for reply in refused.values()] == [status]


def test_a_hop_that_knows_no_times_is_asked_to_tell_of_delays() -> None:
    asked = envelope(deliver_by=1098, by_mode="N")
    never, success = frozenset({"NEVER"}), frozenset({"SUCCESS"})
    recipients = [*to("a@b.test"), *to("b@b.test", notify=never), *to("c@b.test", notify=success)]
    words = [argument.partition(" ")[2] for argument in prepared({"DSN": ""}, asked, *recipients).recipients.values()]
    assert words == ["NOTIFY=DELAY,FAILURE", "NOTIFY=NEVER", "NOTIFY=DELAY,SUCCESS"]
    knows = prepared({"DSN": "", "DELIVERBY": ""}, asked, *recipients).recipients.values()
    assert [argument.partition(" ")[2] for argument in knows] == ["", "NOTIFY=NEVER", "NOTIFY=SUCCESS"]


async def test_the_priority_goes_on_as_a_parameter_or_in_the_header() -> None:
    raw = b"MT-Priority: 9\r\n" + TEXT
    for extensions, mail, data in (
        (("MT-PRIORITY MIXER",), "FROM:<ana@palomar.test> MT-PRIORITY=-3", raw),
        ((), "FROM:<ana@palomar.test>", b"MT-Priority: -3\r\n" + TEXT),
    ):
        server = FakeServer(extensions)
        async with connected(server) as client:
            await client.send(envelope(priority=-3), to("a@b.test"), message(raw))
        assert (server.messages[0].mail, server.messages[0].data) == (mail, data)


@pytest.mark.parametrize(
    ("auth", "word"), [("", "<>"), ("<>", "<>"), ("e=mc2@b.test", "e+3Dmc2@b.test"), ("ñ@b", "<>")]
)
async def test_the_author_is_named_to_hosts_that_we_have_logged_in_to(auth: str, word: str) -> None:
    for login in (Login("ana", "secret"), None):
        server = FakeServer(("AUTH PLAIN",))
        async with connected(server, login=login) as client:
            await client.send(envelope(auth=auth), to("a@b.test"), message())
        assert server.messages[0].mail == "FROM:<ana@palomar.test>" + (f" AUTH={word}" if login else "")


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_more_recipients_than_the_host_takes_are_named_at_once() -> None:
    server = FakeServer((*FULL, "LIMITS RCPTMAX=2"))
    async with connected(server) as client:
        outcomes = await client.send(envelope(), to(*[f"r{n}@b.test" for n in range(5)]), message())
    assert [len(one.recipients) for one in server.messages] == [2, 2, 1]
    assert {one.status for one in outcomes} == {"delivered"}


async def test_what_a_connection_has_no_room_for_is_left_over() -> None:
    server = FakeServer((*FULL, "LIMITS RCPTDOMAINMAX=1 MAILMAX=2 RCPTMAX=1"))
    async with connected(server) as client:
        outcomes = await client.send(envelope(), to("a@b.test", "b@c.test", "c@b.test", "d@b.test"), message())
        assert client.allowance is not None
        assert client.allowance.spent
    assert [one.recipients for one in server.messages] == [["TO:<a@b.test>"], ["TO:<c@b.test>"]]
    assert [one.reply is NEXT_CONNECTION for one in outcomes] == [False, True, False, True]


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
