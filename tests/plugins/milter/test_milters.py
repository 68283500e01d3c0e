"""Filters in a session: what they hear, what follows from their answers, and what their failures cost."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.mail.address import Address
from appliance.mail.edited import Edited
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session, TlsInfo
from plugins.milter.config import MilterConfig, MilterFilter
from plugins.milter.milters import Milters
from plugins.milter.protocol import Skip, packet
from tests.appliance.smtpclient.fake_core import make_core
from tests.plugins.milter.fake_filter import Answers, FakeFilter, running

MESSAGE = Message.parse(b"Received: us\r\nFrom: luis@elsewhere.test\r\nSubject: Hello\r\n\r\nHow are you?\r\n")
ANA = Recipient(Address("ana", "palomar.test"))
LUIS = Recipient(Address("luis", "palomar.test"))
SENDER = Address("luis", "elsewhere.test")
ZONE = "7.2.0.192.in-addr.arpa. PTR mx.elsewhere.test.\nmx.elsewhere.test. A 192.0.2.7"


@dataclass
class Scene:
    """One session of a peer, and its filters."""

    milters: Milters
    session: Session
    envelope: Envelope

    async def dialogue(self, *recipients: Recipient) -> Reply | None:
        """Everything up to the message; the first refusal ends it."""
        refusal = await self.milters.smtp_connect(self.session)
        refusal = refusal or await self.milters.smtp_helo(self.session)
        refusal = refusal or await self.milters.smtp_sender(self.session, self.envelope)
        for recipient in recipients:
            refusal = refusal or await self.milters.smtp_recipient(self.session, recipient)
        self.envelope.recipients = list(recipients)
        return refusal

    async def message(self, message: Message = MESSAGE) -> Edited | Reply | None:
        return await self.milters.message_received(self.session, self.envelope, message)


@asynccontextmanager
async def scene(folder: Path, *filters: MilterFilter, role: str = "mx") -> AsyncIterator[Scene]:
    core = make_core(folder, ZONE, MilterConfig(filters=filters))
    session = Session(
        "s1", role, peer_ip="192.0.2.7", peer_port=4000, local_ip="192.0.2.1", local_port=25, helo="mx", esmtp=True
    )
    made = Scene(Milters(core), session, Envelope(SENDER, size=70))
    yield made
    await made.milters.smtp_disconnect(session)
    assert not session.stash


async def one(folder: Path, answers: Answers, **fake: Any) -> tuple[Reply | None, Edited | Reply | None, FakeFilter]:
    """A whole message to ana and luis by one filter: the dialogue's refusal, what became of it, and the filter."""
    async with running(FakeFilter(answers, **fake)) as filter_, scene(folder, filter_.settings()) as made:
        refusal = await made.dialogue(ANA, LUIS)
        done = await made.message() if refusal is None else None
    await asyncio.wait_for(filter_.gone.wait(), 60)
    return refusal, done, filter_


async def test_a_filter_hears_everything_in_order(tmp_path: Path) -> None:
    refusal, done, heard = await one(tmp_path, {})
    assert (refusal, done) == (None, None)
    assert heard.commands == "OCHMRRTLLNBEQ"
    told = dict(heard.heard)
    assert told[b"C"] == b"mx.elsewhere.test\x004\x0f\xa0192.0.2.7\0"
    assert told[b"H"] == b"mx\0"
    assert told[b"M"] == b"<luis@elsewhere.test>\0SIZE=70\0"
    assert told[b"L"] == b"Subject\0Hello\0"
    assert told[b"B"] == b"How are you?\r\n"
    assert heard.macros_heard[b"C"]["j"] == "me.test"
    assert heard.macros_heard[b"C"]["{daemon_name}"] == "mx"
    assert heard.macros_heard[b"M"]["{client_name}"] == "mx.elsewhere.test"
    assert heard.macros_heard[b"M"]["{mail_addr}"] == "luis@elsewhere.test"
    assert heard.macros_heard[b"R"]["{rcpt_addr}"] == "luis@palomar.test"


async def test_a_filter_chooses_its_macros(tmp_path: Path) -> None:
    _, _, heard = await one(tmp_path, {}, macros=struct.pack(">I", 0) + b"{client_port} v {unknown}\0")
    assert heard.macros_heard[b"C"].keys() == {"{client_port}", "v"}


async def test_an_old_filter_hears_no_new_stages(tmp_path: Path) -> None:
    skips = int(Skip.DATA | Skip.UNKNOWN | Skip.HELO | Skip.HEADERS | Skip.BODY | Skip.END_OF_HEADER)
    _, _, heard = await one(tmp_path, {}, version=2, skips=skips)
    assert heard.commands == "OCMRREQ"
    assert heard.macros_heard.keys() == {b"C", b"M", b"R"}


async def test_a_filter_that_does_not_answer_each_line_is_not_waited_for(tmp_path: Path) -> None:
    quiet = dict.fromkeys((b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B"), b"")
    skips = Skip(0)
    for flag in Skip:
        if "NO_REPLY" in str(flag.name):
            skips |= flag
    refusal, done, heard = await one(tmp_path, quiet, skips=int(skips))
    assert (refusal, done) == (None, None)
    assert heard.commands == "OCHMRRTLLNBEQ"


async def test_auth_and_tls_are_told(tmp_path: Path) -> None:
    async with running(FakeFilter()) as fake, scene(tmp_path, fake.settings(), role="submission") as made:
        made.session.account, made.session.login, made.session.mechanism = "ana@palomar.test", "ana+phone", "PLAIN"
        made.session.tls = TlsInfo("TLSv1.3", "TLS_X", 256)
        await made.dialogue(ANA)
    assert fake.macros_heard[b"M"]["{auth_type}"] == "PLAIN"
    assert fake.macros_heard[b"M"]["{auth_authen}"] == "ana+phone"
    assert fake.macros_heard[b"H"] == {"{tls_version}": "TLSv1.3", "{cipher}": "TLS_X", "{cipher_bits}": "256"}


@pytest.mark.parametrize("letter", [b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B", b"E"])
@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"r", "550 5.7.1"), (b"t", "451 4.7.1"), (b"4", "421 4.7.0"), (b"y554 5.6.0 bad\0", "554 5.6.0")],
)
async def test_refusals_at_every_stage(tmp_path: Path, letter: bytes, answer: bytes, status: str) -> None:
    refusal, done, _ = await one(tmp_path, {letter: packet(answer[:1], answer[1:])})
    reply = refusal if letter in b"CHMR" else done
    assert isinstance(reply, Reply)
    assert str(reply).startswith(status)


async def test_one_recipient_may_be_refused(tmp_path: Path) -> None:
    def answer(data: bytes) -> bytes:
        return packet(b"r") if b"luis" in data else packet(b"c")

    async with running(FakeFilter({b"R": answer})) as fake, scene(tmp_path, fake.settings()) as made:
        assert await made.dialogue(ANA) is None
        assert (await made.milters.smtp_recipient(made.session, LUIS)) is not None
        assert await made.message() is None
    assert fake.commands == "OCHMRRTLLNBEQ"


@pytest.mark.parametrize(
    ("letter", "commands"), [(b"C", "OCQ"), (b"H", "OCHQ"), (b"M", "OCHMQ"), (b"T", "OCHMRRTQ"), (b"B", "OCHMRRTLLNBQ")]
)
async def test_accept_ends_the_filters_part(tmp_path: Path, letter: bytes, commands: str) -> None:
    refusal, done, heard = await one(tmp_path, {letter: packet(b"a")})
    assert (refusal, done) == (None, None)
    assert heard.commands == commands


async def test_a_message_that_was_accepted_early_does_not_free_the_next(tmp_path: Path) -> None:
    async with running(FakeFilter({b"M": packet(b"a")})) as fake, scene(tmp_path, fake.settings()) as made:
        assert await made.dialogue(ANA) is None
        assert await made.message() is None
        assert await made.milters.smtp_sender(made.session, made.envelope) is None
        assert await made.message() is None
    assert fake.commands == "OCHMAMQ"


async def test_a_message_that_does_not_come_is_aborted(tmp_path: Path) -> None:
    async with running(FakeFilter()) as fake, scene(tmp_path, fake.settings()) as made:
        await made.dialogue(ANA)
        await made.milters.smtp_sender(made.session, made.envelope)
        await made.milters.smtp_helo(made.session)
    assert fake.commands == "OCHMRAMAHQ"


async def test_the_rest_of_a_text_may_be_skipped(tmp_path: Path) -> None:
    long = Message.parse(bytes(MESSAGE) + b"line\r\n" * 50_000)
    async with running(FakeFilter({b"B": packet(b"s")})) as fake, scene(tmp_path, fake.settings()) as made:
        await made.dialogue(ANA)
        assert await made.message(long) is None
    assert fake.commands == "OCHMRTLLNBEQ"


EDITS = b"".join(
    [
        packet(b"p"),
        packet(b"h", b"X-Seen\0yes\0"),
        packet(b"m", struct.pack(">I", 1) + b"Subject\0Other\0"),
        packet(b"b", b"new "),
        packet(b"b", b"text\r\n"),
        packet(b"e", b"<bounce@elsewhere.test>\0"),
        packet(b"+", b"<archive@palomar.test>\0"),
        packet(b"-", b"<LUIS@palomar.test>\0"),
        packet(b"q", b"odd\0"),
        packet(b"c"),
    ]
)


async def test_edits(tmp_path: Path) -> None:
    _, done, _ = await one(tmp_path, {b"E": EDITS})
    assert isinstance(done, Edited)
    assert bytes(done.message) == (
        b"Received: us\r\nFrom: luis@elsewhere.test\r\nSubject: Other\r\nX-Seen: yes\r\n\r\nnew text\r\n"
    )
    assert str(done.sender) == "bounce@elsewhere.test"
    assert [str(recipient.address) for recipient in done.recipients] == ["ana@palomar.test", "archive@palomar.test"]
    assert done.quarantine == "odd"


async def test_the_null_sender(tmp_path: Path) -> None:
    _, done, _ = await one(tmp_path, {b"E": packet(b"e", b"<>\0") + packet(b"a")})
    assert isinstance(done, Edited)
    assert done.sender is None


@pytest.mark.parametrize("letter", [b"M", b"T", b"B", b"E"])
async def test_a_message_may_be_thrown_away(tmp_path: Path, letter: bytes) -> None:
    _, done, _ = await one(tmp_path, {letter: packet(b"d")})
    assert isinstance(done, Edited)
    assert not done.recipients


async def test_the_second_filter_sees_what_the_first_has_made(tmp_path: Path) -> None:
    first = FakeFilter({b"E": packet(b"h", b"X-One\x001\0") + packet(b"q", b"odd\0") + packet(b"c")})
    second = FakeFilter({b"E": packet(b"h", b"X-Two\x002\0") + packet(b"c")})
    async with running(first), running(second), scene(tmp_path, first.settings(), second.settings()) as made:
        await made.dialogue(ANA)
        done = await made.message()
    assert (b"L", b"X-One\x001\0") in second.heard
    assert isinstance(done, Edited)
    assert done.quarantine == "odd"
    assert (done.message.get(b"x-one"), done.message.get(b"x-two")) == (b"1", b"2")


def hang(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("on_failure", ["defer", "accept", "refuse"])
@pytest.mark.parametrize(
    ("letter", "answer"),
    [
        (b"C", None),
        (b"H", None),
        (b"M", None),
        (b"M", b"\xff\xff\xff\xff"),
        (b"R", packet(b"Z")),
        (b"R", hang),
        (b"L", None),
        (b"B", packet(b"d", b"")[:3] + b"\0"),
        (b"E", hang),
        (b"E", packet(b"+", b"<no address\0") + packet(b"c")),
        (b"E", packet(b"f")),
        (b"C", packet(b"d")),
    ],
)
async def test_failures(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    letter: bytes,
    answer: bytes | Callable[[bytes], bytes] | None,
    on_failure: str,
) -> None:
    expected = {"defer": 451, "accept": None, "refuse": 550}[on_failure]
    caplog.set_level(logging.ERROR)
    async with running(FakeFilter({letter: answer})) as fake:
        settings = fake.settings(on_failure=on_failure, timeout=0.3, content_timeout=0.3)
        async with scene(tmp_path, settings) as made:
            refusal = await made.dialogue(ANA)
            done = await made.message() if refusal is None else None
    reply = refusal or done
    assert (reply.code if isinstance(reply, Reply) else reply) == expected
    assert len(caplog.records) == 1
    assert f"milter 127.0.0.1:{fake.port}" in caplog.text
    assert on_failure in caplog.text


async def test_a_filter_that_is_not_there_defers_every_message(tmp_path: Path) -> None:
    async with scene(tmp_path, MilterFilter(socket=f"unix:{tmp_path}/none")) as made:
        for _ in range(2):
            reply = await made.dialogue(ANA)
            assert reply is not None
            assert reply.code == 451
            assert "milter unix:" in reply.reason


async def test_by_unix_socket(tmp_path: Path) -> None:
    fake = FakeFilter()
    server = await asyncio.start_unix_server(fake.serve, str(tmp_path / "filter"))
    async with server, scene(tmp_path, MilterFilter(socket=f"unix:{tmp_path}/filter")) as made:
        assert await made.dialogue(ANA) is None
    assert fake.commands == "OCHMRQ"


async def test_only_the_roles_asked_for(tmp_path: Path) -> None:
    async with running(FakeFilter()) as fake, scene(tmp_path, fake.settings(roles=("submission",))) as made:
        assert await made.dialogue(ANA) is None
        assert await made.message() is None
    assert fake.sessions == 0


def problems(**settings: Any) -> list[str]:
    config = MilterConfig(filters=(MilterFilter(**settings),))
    return [problem.setting for one_ in config.filters for problem in one_.problems()]


@pytest.mark.parametrize("text", ["127.0.0.1:1", "inet:127.0.0.1:1", "[::1]:8891", "unix:/run/x"])
def test_good_sockets(text: str) -> None:
    assert problems(socket=text) == []


@pytest.mark.parametrize("text", ["", "host", ":25", "host:x", "host:70000", "unix:", "unix:relative"])
def test_bad_sockets(text: str) -> None:
    assert problems(socket=text) == ["socket"]


def test_filters_must_have_time_for_their_answers() -> None:
    filters = tuple(MilterFilter(socket=f"h:{port}") for port in (1, 2))
    assert [problem.setting for problem in MilterConfig(filters=filters).problems()] == ["filters", "filters"] * 2
    brief = tuple(MilterFilter(socket=f"h:{port}", timeout=4, content_timeout=20) for port in (1, 2))
    assert list(MilterConfig(filters=brief).problems()) == []
    twice = MilterConfig(filters=(brief[0], brief[0]))
    assert [problem.setting for problem in twice.problems()] == ["filters[1]"]
