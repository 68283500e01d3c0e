"""What a session does beside its answers: Received, the envelope, limits, the trace, and failures around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import StoreFullError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.mail.session import Session, TlsInfo
from appliance.routing import MAX_ALIAS_DEPTH
from appliance.spool import Spool
from appliance.stress import Stress
from plugins import smtp
from plugins.smtp import transaction
from plugins.smtp.config import SmtpConfig
from plugins.smtp.ports import PORTS, listeners
from plugins.smtp.protocol import SmtpServer
from plugins.smtp.submission import may_send_as
from plugins.smtp.transaction import RECIPIENT_OVERSHOOT
from tests.plugins.smtp.fake import FakeConnection, FakeCore, Office, Turn, plain, run_session

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
HELLO = b"EHLO load.test\r\n"
ONE = (b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<ana@palomar.test>\r\n", b"DATA\r\n", b"A: 1\r\n\r\ntext\r\n.\r\n")


async def talk(core: FakeCore, *bursts: bytes, role: str = "mx", **facts: Any) -> FakeConnection:
    connection = FakeConnection(SmtpServer(core.config.max_size), [Turn(burst) for burst in bursts])
    for name, value in facts.items():
        setattr(connection, name, value)
    await run_session(core, connection, role)
    return connection


def last_code(connection: FakeConnection) -> bytes:
    return connection.answers[-1].split(b"\r\n")[-2][:9]


# ── Received ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("hello", "login", "parameters", "role", "tls", "word"),
    [
        (b"HELO load.test\r\n", b"", b"", "mx", None, b"SMTP"),
        (HELLO, b"", b"", "mx", None, b"ESMTP"),
        (HELLO, b"", b"", "mx", TLS, b"ESMTPS"),
        (HELLO, b"", b" SMTPUTF8", "mx", None, b"UTF8SMTP"),
        (HELLO, b"", b" SMTPUTF8", "mx", TLS, b"UTF8SMTPS"),
        (HELLO, b"AUTH PLAIN ", b"", "submission", TLS, b"ESMTPSA"),
        (HELLO, b"AUTH PLAIN ", b" SMTPUTF8", "submission", TLS, b"UTF8SMTPSA"),
        (b"LHLO mta.test\r\n", b"", b"", "lmtp", None, b"LMTP"),
        (b"LHLO mta.test\r\n", b"", b"", "lmtp", TLS, b"LMTPS"),
        (b"LHLO mta.test\r\n", b"", b" SMTPUTF8", "lmtp", None, b"UTF8LMTP"),
    ],
)
async def test_received_says_how_the_message_came(
    hello: bytes, login: bytes, parameters: bytes, role: str, tls: TlsInfo | None, word: bytes, tmp_path: Path
) -> None:
    core = FakeCore(tmp_path)
    name = hello.split()[1]
    if login:
        login += plain("ana@palomar.test", "secret").encode() + b"\r\n"
    mail = b"MAIL FROM:<ana@palomar.test>" + parameters + b"\r\nRCPT TO:<ana@palomar.test>\r\nDATA\r\n"
    connection = await talk(core, hello, login, mail, ONE[2], role=role, tls=tls)
    assert b"250 2.0.0 Stored as trace1\r\n" in connection.answers[-1]
    received = core.intake.taken[0].message.split(b"\r\nA: 1")[0].split(b"\r\nDate:")[0].split(b"\r\nMessage-ID:")[0]
    lines = [
        b"Received: from %b ([192.0.2.7])" % name,
        b"\tby mx.palomar.test (Palomar) with %b id trace1" % word,
        *([b"\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256)"] if tls else []),
        b"\tfor <ana@palomar.test>;",
        b"\tTue, 14 Nov 2023 22:13:20 +0000",
    ]
    assert received == b"\r\n".join(lines)


async def test_received_does_not_tell_several_recipients_of_each_other(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    await talk(core, HELLO, ONE[0] + b"RCPT TO:<luis@palomar.test>\r\nDATA\r\n", ONE[2])
    assert b"for <" not in core.intake.taken[0].message
    assert b"luis" not in core.intake.taken[0].message


async def test_received_says_when_the_clock_is_in_doubt(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    core.core.time_state = "plausible"
    await talk(core, HELLO, *ONE)
    assert b"+0000 (clock plausible)\r\n" in core.intake.taken[0].message


async def test_hostname_of_the_role_wins(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(hostname="mail.elsewhere.test"))
    connection = await talk(core, HELLO, *ONE)
    assert connection.answers[0].startswith(b"220 mail.elsewhere.test ")
    assert b"\tby mail.elsewhere.test " in core.intake.taken[0].message


# ── the envelope ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_envelope_holds_all_parameters(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    mail = b"MAIL FROM:<a@sender.test> SIZE=77 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=Q+2B1 AUTH=e+3Dx@y\r\n"
    rcpt = b"RCPT TO:<@x.test:ana@palomar.test> NOTIFY=success,DELAY ORCPT=rfc822;o+2Bx@y\r\nRCPT TO:<POSTMASTER>\r\n"
    await talk(core, HELLO, mail + rcpt + b"DATA\r\n", ONE[2])
    assert core.intake.taken[0].envelope == Envelope(
        Address("a", "sender.test"),
        [
            Recipient(Address("ana", "palomar.test"), frozenset({"SUCCESS", "DELAY"}), "rfc822;o+x@y"),
            Recipient(Address("postmaster", "mx.palomar.test")),
        ],
        ret="HDRS",
        envid="Q+1",
        body="8BITMIME",
        smtputf8=True,
        size=77,
        auth="<>",  # whoever has not logged in is not believed
    )


async def test_each_transaction_begins_anew(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    second = b"MAIL FROM:<>\r\nRCPT TO:<luis@palomar.test>\r\nDATA\r\n"
    await talk(core, HELLO, b"MAIL FROM:<a@sender.test> RET=FULL\r\nRSET\r\n" + second, ONE[2])
    (taken,) = core.intake.taken
    assert taken.envelope == Envelope(None, [Recipient(Address("luis", "palomar.test"))])
    assert taken.message.count(b"id trace2") == 1


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_recipients_beyond_the_limit_are_deferred(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(max_recipients=100))
    rcpt = b"RCPT TO:<ana@palomar.test>\r\n"
    connection = await talk(core, HELLO, b"MAIL FROM:<>\r\n" + rcpt * 150 + b"DATA\r\n", ONE[2])
    codes = [line[:9] for line in connection.answers[2].split(b"\r\n")]
    assert codes.count(b"250 2.1.5") == 100
    assert codes.count(b"452 4.5.3") == 50
    assert len(core.intake.taken[0].envelope.recipients) == 100


async def test_endless_recipients_end_the_session(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(max_recipients=100, max_errors=20))
    rcpt = b"RCPT TO:<ana@palomar.test>\r\n"
    connection = await talk(core, HELLO, b"MAIL FROM:<>\r\n" + rcpt * 100_000)
    assert last_code(connection) == b"421 4.7.0"
    assert connection.answers[-1].count(b"452 4.5.3") == RECIPIENT_OVERSHOOT + 21


async def test_guessing_recipients_ends_the_session(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    guesses = b"".join(b"RCPT TO:<guess%d@palomar.test>\r\n" % n for n in range(100))
    connection = await talk(core, HELLO, b"MAIL FROM:<>\r\n" + guesses)
    assert last_code(connection) == b"421 4.7.0"
    assert connection.answers[-1].count(b"550 5.1.1") == 21


async def test_a_message_forgives_earlier_errors(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(max_errors=3))
    connection = await talk(core, HELLO, *([b"FOO\r\nFOO\r\nFOO\r\n" + ONE[0], ONE[1], ONE[2]] * 4))
    assert len(core.intake.taken) == 4
    assert not connection.answers[-1].startswith(b"421")


async def test_deadlines_follow_the_settings(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(command_timeout=11.0, data_timeout=7.0, data_deadline=500.0))
    connection = await talk(core, HELLO, *ONE)
    assert set(connection.timeouts) == {11.0, 7.0}


async def test_the_deadline_of_a_message_bounds_each_wait(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(data_deadline=5.0))
    connection = await talk(core, HELLO, *ONE)
    assert set(connection.timeouts) == {300.0, 5.0}


# ── refusals and stress ──────────────────────────────────────────────────────────────────────────────────────────


class Doorkeeper:
    """Notes refusals, and says goodbye at the third."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    async def smtp_refused(self, session: Session, reply: Reply) -> Reply | None:
        self.heard.append(str(reply))
        return Reply(421, "4.7.0", "Enough") if len(self.heard) == 3 else None


async def test_plugins_hear_of_refusals_and_may_end_the_session(tmp_path: Path) -> None:
    doorkeeper = Doorkeeper()
    core = FakeCore(tmp_path, plugins=[Office(), doorkeeper])
    guess = b"RCPT TO:<guess@palomar.test>\r\n"
    connection = await talk(
        core, HELLO, b"MAIL FROM:<>\r\nRCPT TO:<full@palomar.test>\r\n" + guess + b"\xff\r\n" + guess
    )
    assert [reply[:9] for reply in doorkeeper.heard] == ["452 4.2.2", "550 5.1.1", "500 5.5.2"]
    assert [line[:9] for line in connection.answers[-1].splitlines()[-3:]] == [
        b"550 5.1.1", b"500 5.5.2", b"421 4.7.0",
    ]  # fmt: skip


class Rude:
    """Wants to accept what was refused."""

    @hookimpl
    async def smtp_refused(self, session: Session) -> Reply | None:
        return Reply(250, "2.0.0", "Come in")


async def test_a_refusal_cannot_be_turned_into_its_opposite(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, plugins=[Office(), Rude()])
    connection = await talk(core, HELLO, b"MAIL FROM:<>\r\nRCPT TO:<guess@palomar.test>\r\nDATA\r\n")
    assert [line[:3] for line in connection.answers[-1].splitlines()] == [b"250", b"550", b"554"]


class Waiting:
    """Lets peers wait, and refuses those that do not."""

    @hookimpl
    async def smtp_connect(self, session: Session) -> Reply | None:
        return None if await session.quiet(4.0) else Reply(521, "5.5.1", "Wait to be greeted")


async def test_a_plugin_can_wait_with_the_peer_before_the_greeting(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, plugins=[Office(), Waiting()])
    connection = await talk(core, HELLO)
    assert (connection.timeouts[0], connection.answers[0][:4]) == (4.0, b"220 ")
    connection = await talk(core, early=b"EHLO zombie.test\r\nMAIL FROM:<a@sender.test>\r\n")
    assert [line[:3] for line in connection.answers[0].splitlines()] == [b"554", b"503", b"503"]


def stressed(core: FakeCore) -> Stress:
    stress = Stress("smtp", 1)
    stress.note(1)
    return stress


async def test_under_stress_strangers_get_less(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(stress_timeout=7.0, stress_errors=2, stress_idle_commands=4))
    bad = b"FOO\r\n" * 9
    for burst, code in ((bad, b"500"), (b"NOOP\r\n" * 9, b"250")):
        connection = FakeConnection(SmtpServer(core.config.max_size), [Turn(HELLO), Turn(burst)])
        await run_session(core, connection, "mx", stressed(core))
        said = [line[:3] for line in connection.answers[-1].splitlines()]
        assert (said[-1], set(said[:-1]), len(said)) == (b"421", {code}, 4 if code == b"500" else 5)
        assert set(connection.timeouts) == {7.0}
    connection = FakeConnection(SmtpServer(core.config.max_size), [Turn(HELLO), *map(Turn, ONE)])
    await run_session(core, connection, "mx", stressed(core))
    assert set(connection.timeouts) == {7.0}
    assert len(core.intake.taken) == 1


async def test_stress_is_told_in_the_status(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    running = listeners(core.core, [])
    core.core.listeners = running
    assert smtp.status(core.core) == []
    enter = SmtpConfig().max_connections * SmtpConfig().stress_percent // 100
    running[0].stress.note(enter - 1)
    assert smtp.status(core.core) == []
    running[0].stress.note(enter)
    assert smtp.status(core.core) == [("Stress", "smtp is nearly full, with 0 connections: it hurries", "warning")]


async def test_under_stress_a_login_keeps_its_time(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    login = b"AUTH PLAIN " + plain("ana@palomar.test", "secret").encode() + b"\r\n"
    connection = FakeConnection(SmtpServer(1000), [Turn(HELLO), Turn(login), Turn(b"FOO\r\n" * 5)])
    connection.tls = TLS
    await run_session(core, connection, "submission", stressed(core))
    assert connection.timeouts == [10.0, 10.0, *[300.0] * 6]


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────


class FullSpool(Spool):
    """A disk that has no room once some octets have come."""

    closed = 0

    def write(self, chunk: bytes) -> None:
        if self.size + len(chunk) > 20:
            raise StoreFullError("no space left")
        super().write(chunk)

    def close(self) -> None:
        FullSpool.closed += 1
        super().close()


async def test_a_full_disk_defers_and_the_dialogue_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "Spool", FullSpool)
    FullSpool.closed = 0
    core = FakeCore(tmp_path)
    text = [b"A: 1\r\n", b"x" * 30 + b"\r\n", b"y" * 30 + b"\r\n", b".\r\nNOOP\r\n"]
    connection = await talk(core, HELLO, ONE[0] + b"DATA\r\n", *text)
    assert connection.answers[-1].startswith(b"452 4.3.1 ")
    assert connection.answers[-1].endswith(b"250 2.0.0 Ok\r\n")
    assert core.intake.taken == []
    assert FullSpool.closed == 1
    chunk = b"BDAT 30 LAST\r\n" + b"x" * 30
    connection = await talk(core, HELLO, ONE[0] + chunk + b"NOOP\r\n")
    assert b"452 4.3.1 " in connection.answers[-1]
    assert connection.answers[-1].endswith(b"250 2.0.0 Ok\r\n")


@pytest.mark.parametrize(
    "end",
    [[], [b"QUIT\r\n"], [b"RSET\r\n"], [b"EHLO again.test\r\n"], [b"x\n"], [b"MAIL FROM:<crash@sender.test>\r\n"]],
)
async def test_the_room_of_a_message_is_given_back_however_it_ends(
    end: Sequence[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "Spool", FullSpool)
    FullSpool.closed = 0
    await talk(FakeCore(tmp_path), HELLO, ONE[0] + b"BDAT 3\r\nA\r\n", *end)
    assert FullSpool.closed == 1


async def test_a_header_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    text = b"A: " + b"x" * 900 + b"\r\n"
    connection = await talk(core, HELLO, *ONE[:2], text * 1200 + b"\r\n.\r\n", b"NOOP\r\n")
    assert connection.answers[-2].startswith(b"554 5.6.0 ")
    assert connection.answers[-1] == b"250 2.0.0 Ok\r\n"
    assert core.intake.taken == []


async def test_a_large_text_without_header_is_refused(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    connection = await talk(core, HELLO, *ONE[:2], b" words\r\n" * 40_000 + b".\r\n")
    assert connection.answers[-1].startswith(b"554 5.6.0 ")


async def test_a_large_message_is_handed_over_whole(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    text = b"A: 1\r\n\r\n" + b"".join(b"line %d\r\n" % n for n in range(100_000))
    await talk(core, HELLO, *ONE[:2], text[:500_000], text[500_000:] + b".\r\n")
    assert core.intake.taken[0].without_trace == text
    assert list(tmp_path.glob("spool/*")) == []


async def test_a_crash_of_the_intake_gives_the_room_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "Spool", FullSpool)
    FullSpool.closed = 0
    connection = await talk(FakeCore(tmp_path), HELLO, *ONE[:2], b"X-Crash: 1\r\n.\r\n")
    assert connection.answers[-1] == b"421 4.3.0 Local error in processing, closing\r\n"
    assert FullSpool.closed == 1


# ── hooks and the trace ──────────────────────────────────────────────────────────────────────────────────────────


async def test_refusals_are_traced(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    await talk(
        core, b"HELO mx.palomar.test\r\n" + HELLO, b"MAIL FROM:<blocked@sender.test>\r\n", *ONE[:2], b"a\n\r\n.\r\n"
    )
    peer = "from 192.0.2.7 (load.test)"
    text = "message: 554 5.6.0 The message holds a CR or LF that is no line end"
    assert core.trace.rows == [
        ("s1", "mx", "refused", "hello: 550 5.7.1 That is my name, from 192.0.2.7"),
        ("s1", "mx", "refused", f"MAIL FROM:<blocked@sender.test>: 550 5.7.1 You are blocked, {peer}"),
        ("trace1", "mx", "refused", f"{text}, {peer}"),
    ]
    core = FakeCore(tmp_path)
    await talk(core, peer_ip="198.51.100.1")
    assert core.trace.rows == [("s1", "mx", "refused", "connect: 550 5.7.1 You are listed (list), from 198.51.100.1")]


async def test_the_trace_tells_where_a_message_came_from(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    login = b"AUTH PLAIN " + plain("ana@palomar.test", "secret").encode() + b"\r\n"
    mail = b"MAIL FROM:<ana@palomar.test>\r\nRCPT TO:<luis@palomar.test>\r\nDATA\r\n"
    await talk(core, HELLO, login, mail, ONE[2], role="submission", tls=TLS)
    assert core.trace.rows == [("trace1", "submission", "received", "from 192.0.2.7 (load.test) as ana@palomar.test")]


class Extensions:
    """A plugin that announces something."""

    @hookimpl
    def smtp_extensions(self, core: object) -> Sequence[str]:
        return ["XCLIENT NAME", "XFORWARD"]


async def test_extensions_of_other_plugins_are_announced(tmp_path: Path) -> None:
    from plugins import smtp

    core = FakeCore(tmp_path, plugins=[Extensions()])
    services = smtp.services(core.core)
    assert [service.name for service in services] == ["smtp", "submission", "submissions", "lmtp"]
    connection = FakeConnection(SmtpServer(1 << 20), [Turn(HELLO)])
    await _run_with(core, connection, ["XCLIENT NAME", "XFORWARD"])
    assert connection.answers[1].endswith(b"250-XCLIENT NAME\r\n250 XFORWARD\r\n")


async def _run_with(core: FakeCore, connection: FakeConnection, extensions: Sequence[str]) -> None:
    from appliance.connection import ConnectionLostError
    from plugins.smtp.session import SmtpSession

    with pytest.raises(ConnectionLostError):
        await SmtpSession(core.core, connection, "mx", extensions).run()  # type: ignore[arg-type]


def test_each_port_has_its_setting(tmp_path: Path) -> None:
    core = FakeCore(tmp_path)
    found = listeners(core.core, [])
    assert len(found) == len(PORTS)
    for port, listener in zip(PORTS, found, strict=True):
        assert tuple(listener._binds()) == getattr(core.config, port.setting)


# ── whose address is whose ───────────────────────────────────────────────────────────────────────────────────────


class Chain(Office):
    """a0 leads to a1 leads to a2 …; `loop` to itself; `wide` to very many."""

    @hookimpl
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        local = recipient.address.local
        if local == "loop":
            return [recipient]
        if local.startswith("wide"):
            return [Recipient(Address(f"wide{local[4:]}{n}", "palomar.test")) for n in range(10)]
        if local[:1] == "a" and local[1:].isdigit():
            target = (
                Address("ana", "palomar.test") if local == "a0" else Address(f"a{int(local[1:]) - 1}", "palomar.test")
            )
            return [Recipient(target)]
        return None


@pytest.mark.parametrize(
    ("sender", "own"),
    [
        ("a0@palomar.test", True),
        (f"a{MAX_ALIAS_DEPTH - 2}@palomar.test", True),
        (f"a{MAX_ALIAS_DEPTH - 1}@palomar.test", False),  # and mail to it does not come through either
        ("loop@palomar.test", False),
        ("wide@palomar.test", False),
        ("ana+x@palomar.test", True),
        ("ANA@palomar.test", True),
        ("ana@elsewhere.test", False),
    ],
)
async def test_aliases_are_followed_within_bounds(sender: str, own: bool, tmp_path: Path) -> None:
    core = FakeCore(tmp_path, plugins=[Chain()])
    assert await may_send_as(core.core, "ana@palomar.test", Address.parse(sender), "own") is own


class Failing(Office):
    """The directory is down."""

    @hookimpl
    async def expand_recipient(self, recipient: Recipient) -> Sequence[Recipient] | None:
        raise OSError("planted")


async def test_an_unknown_owner_defers(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, plugins=[Failing()])
    login = b"AUTH PLAIN " + plain("ana@palomar.test", "secret").encode() + b"\r\n"
    connection = await talk(core, HELLO, login, b"MAIL FROM:<x@palomar.test>\r\n", role="submission", tls=TLS)
    assert connection.answers[-1].startswith(b"451 4.3.0 ") or connection.answers[-1].startswith(b"450 ")


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hostname": "not a name"}, "hostname"),
        ({"max_size": 1000}, "max_size must be within 65536.."),
        ({"max_size": 2**31}, "max_size"),
        ({"max_recipients": 99}, "max_recipients"),
        ({"max_errors": 0}, "max_errors"),
        ({"max_per_peer": 0}, "max_per_peer"),
        ({"data_deadline": 0.5}, "data_deadline"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    [problem] = SmtpConfig(**settings).problems()
    assert f"{problem.setting} {problem.text}".startswith(words)


def test_replies_of_the_role_are_well_formed() -> None:
    from plugins.smtp import dialogue, envelope, session, submission

    texts = set()
    for module in (dialogue, envelope, session, submission, transaction):
        for value in vars(module).values():
            if isinstance(value, Reply):
                assert value.enhanced
                assert len(bytes(value)) <= 512
                texts.add(value.text)
    assert len(texts) > 30
