"""Who may ask for what besides the delivery, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.hookspecs import hookimpl
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import TlsInfo
from appliance.store.queue import list_queue
from appliance.store.terms import waiting_for_release
from plugins.mda.delivery import LocalTransport
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import SmtpServer
from plugins.smtp.refusal import RefusedError
from plugins.smtp.terms import Terms, header_priority
from tests.appliance.office import Office, office
from tests.plugins.smtp.fake import NOW, FakeConnection, FakeCore, Turn, plain, run_session

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
LOGIN = b"EHLO laptop\r\nAUTH PLAIN " + plain("ana@palomar.test", "secret").encode() + b"\r\n"
BODY = b"BDAT 14 LAST\r\nA: 1\r\n\r\ntext\r\n"


async def sent(
    folder: Path, parameters: bytes, *, login: bool = True, header: bytes = b"", **facts: object
) -> Envelope:
    """The envelope that the intake gets for a message with these parameters of MAIL."""
    core = FakeCore(folder, facts.pop("config", SmtpConfig()))  # type: ignore[arg-type]
    mail = b"MAIL FROM:<ana@palomar.test>" + parameters + b"\r\nRCPT TO:<ana@palomar.test>\r\n"
    body = b"BDAT %d LAST\r\n" % (14 + len(header)) + header + b"A: 1\r\n\r\ntext\r\n"
    hello = LOGIN if login else b"EHLO load.test\r\n"
    connection = FakeConnection(SmtpServer(65_536), [Turn(hello), Turn(mail + body)])
    connection.tls = TLS
    for name, value in facts.items():
        setattr(connection, name, value)
    await run_session(core, connection, "submission" if login else "mx")
    (taken,) = core.intake.taken
    assert (b"\r\n\tPRIORITY %d;\r\n" % taken.envelope.priority in taken.message) is (taken.envelope.priority != 0)
    return taken.envelope


async def test_what_was_asked_for_is_in_the_envelope(tmp_path: Path) -> None:
    found = await sent(tmp_path, b" REQUIRETLS HOLDFOR=60 BY=+120;rt MT-PRIORITY=-4")
    asked = (found.require_tls, found.release_at, found.deliver_by, found.by_mode, found.priority)
    assert asked == (True, int(NOW) + 60, int(NOW) + 120, "RT", -4)
    found = await sent(tmp_path, b" HOLDUNTIL=2023-11-14T22:14:20.5Z")
    assert found.release_at == int(NOW) + 61


@pytest.mark.parametrize(
    ("allowed", "login", "peer", "priority"),
    [
        ((), True, "192.0.2.7", 0),
        (("Ana@palomar.test",), True, "192.0.2.7", 3),
        (("luis@palomar.test",), True, "192.0.2.7", 0),
        (("192.0.2.0/24",), False, "192.0.2.7", 3),
        (("192.0.2.0/24",), False, "::ffff:192.0.2.7", 3),
        (("192.0.2.0/24",), False, "192.0.3.7", 0),
        (("ana@palomar.test",), False, "192.0.2.7", 0),
    ],
)
async def test_who_may_ask_for_a_high_priority(
    tmp_path: Path, allowed: tuple[str, ...], login: bool, peer: str, priority: int
) -> None:
    config = SmtpConfig(priority_from=allowed)
    found = await sent(tmp_path, b" MT-PRIORITY=3", config=config, login=login, peer_ip=peer)
    assert found.priority == priority
    # The field in the header counts where nothing was said at MAIL, and from the same peers only.
    found = await sent(tmp_path, b"", header=b"MT-Priority: 3\r\n", config=config, login=login, peer_ip=peer)
    assert found.priority == priority


def test_only_a_single_sound_field_sets_the_priority() -> None:
    for header, priority in ((b"MT-Priority: -9\r\n", -9), (b"MT-Priority: +3\r\n", 0), (b"MT-Priority: 3\r\n" * 2, 0)):
        assert header_priority(Message.parse(header + b"\r\n")) == priority


@pytest.mark.parametrize(
    ("word", "login", "auth"),
    [
        (b"ana@palomar.test", True, "ana@palomar.test"),
        (b"ana+2Bnews@palomar.test", True, "ana+news@palomar.test"),
        (b"luis@palomar.test", True, "<>"),
        (b"<>", True, "<>"),
        (b"ana@palomar.test", False, "<>"),
    ],
)
async def test_whose_word_about_the_author_is_taken(tmp_path: Path, word: bytes, login: bool, auth: str) -> None:
    assert (await sent(tmp_path, b" AUTH=" + word, login=login)).auth == auth


async def test_a_sender_may_let_so_many_messages_wait_and_no_more(tmp_path: Path) -> None:
    core = FakeCore(tmp_path, SmtpConfig(hold_messages=2))
    store: Any = core.core.store
    for waiting, answer in ((1, b"250 2.1.0"), (2, b"552 5.7.16")):
        store.waiting = waiting
        mail = b"MAIL FROM:<ana@palomar.test> HOLDFOR=60\r\n"
        connection = FakeConnection(SmtpServer(65_536), [Turn(LOGIN), Turn(mail)])
        connection.tls = TLS
        await run_session(core, connection, "submission")
        assert connection.answers[-1].startswith(answer)


def test_without_a_clock_nothing_waits_for_a_time() -> None:
    terms = Terms(1000, clock=False, max_hold_s=60)
    assert terms.announced() == ["DELIVERBY", "MT-PRIORITY"]
    for key, value in (("BY", "5;R"), ("HOLDFOR", "5"), ("HOLDUNTIL", "1970-01-01T00:17:00Z")):
        with pytest.raises(RefusedError) as error:
            terms.read(Envelope(None), key, value)
        assert error.value.reply.code == 455


def test_settings_that_name_nobody_are_told() -> None:
    bad = SmtpConfig(priority_from=("anas", "192.0.2.0/33"), etrn_domains=("x y",), hold_days=-1)
    assert {problem.setting for problem in bad.problems()} == {"priority_from", "etrn_domains", "hold_days"}


# ── with a real intake ────────────────────────────────────────────────────────────────────────────────────────────


class Outside:
    """What is not local goes to `relay`."""

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


BINARY = Message.parse(b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\n\0\r\xff\n")
AS_LINES = b"Content-Transfer-Encoding: base64\r\n\r\nAA3/Cg==\r\n"


async def accepted(o: Office, *addresses: str, message: Message = BINARY, **terms: object) -> list[Reply]:
    transaction = o.begin(**{"account": "ana@palomar.test", **terms.pop("session", {})})  # type: ignore[dict-item]
    for name, value in {"body": "BINARYMIME", **terms}.items():
        setattr(transaction.envelope, name, value)
    for address in addresses:
        assert (await o.rcpt(transaction, address)).positive
    return await o.intake.accept(transaction, message)


async def test_a_binary_message_is_filed_in_base64_and_goes_on_as_it_was(tmp_path: Path) -> None:
    relay: Any = {"session": {"account": None, "role": "mx"}}
    async with office(tmp_path, ("out", Outside())) as o:
        await o.domain("inside.test", kind="relay", next_hop="mail.inside.test")
        assert (await accepted(o, "ana@palomar.test"))[0].positive
        (filed,) = await o.inbox("ana@palomar.test")
        assert filed.endswith(AS_LINES)
        assert (await accepted(o, "x@inside.test", **relay))[0].positive  # for others: as it came
        assert (await accepted(o, "x@inside.test", "ana@palomar.test", **relay))[0].positive
        assert (await accepted(o, "x@inside.test"))[0].positive  # our own people's: it may be signed here
        pairs = await o.store.read(list_queue)
        bodies = [(queued.body, bytes(await o.store.load(queued.body_id))) for queued, _ in pairs]
    assert [body for body, _ in bodies] == ["BINARYMIME", "8BITMIME", "8BITMIME"]
    assert bodies[0][1] == bytes(BINARY)
    assert all(octets.endswith(AS_LINES) for _, octets in bodies[1:])


async def test_a_binary_message_that_cannot_be_converted_is_refused_with_the_reason(tmp_path: Path) -> None:
    signed = b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\n\r\n\0\r\n--b\r\n\r\nx\r\n--b--'
    async with office(tmp_path) as o:
        (reply,) = await accepted(o, "ana@palomar.test", message=Message.parse(signed))
        assert (reply.code, reply.enhanced) == (554, "5.6.3")
        assert "signed" in reply.text
        assert await o.inbox("ana@palomar.test") == []


async def test_mail_for_later_waits_in_the_queue_for_those_here_too(tmp_path: Path) -> None:
    async with office(tmp_path, ("out", Outside())) as o:
        now = int(o.core.now())
        message = Message.parse(b"Subject: later\r\n\r\nx\r\n")
        replies = await accepted(
            o, "ana@palomar.test", "x@elsewhere.test", message=message, body="7BIT", release_at=now + 500
        )
        assert [reply.code for reply in replies] == [250, 250]
        assert await o.inbox("ana@palomar.test") == []
        assert o.told == []
        pairs = await o.store.read(list_queue)
        assert {entry.next_at for _, entry in pairs} == {now + 500}
        sender = pairs[0][0].sender
        for who, at, count in ((sender, now, 1), (sender, now + 500, 0), (None, now, 0)):
            assert await o.store.read(lambda db, who=who, at=at: waiting_for_release(db, who, at)) == count  # type: ignore[misc]
        queued, entry = next(pair for pair in pairs if pair[1].route.transport == "local")
        envelope = Envelope(queued.sender, [entry.recipient], release_at=queued.release_at)
        (outcome,) = await LocalTransport(o.core).deliver_queued(envelope, queued, [entry], message)
        assert outcome.status == "delivered"
        assert len(await o.inbox("ana@palomar.test")) == 1


@pytest.mark.parametrize(
    ("header", "require_tls", "optional"),
    [
        (b"TLS-Required: No\r\n", False, True),
        (b"TLS-Required: no\r\n", True, False),
        (b"TLS-Required: Yes\r\n", False, False),
        (b"TLS-Required: No\r\nTLS-Required: No\r\n", False, False),
        (b"", False, False),
    ],
)
async def test_the_header_says_that_tls_may_fail(
    tmp_path: Path, header: bytes, require_tls: bool, optional: bool
) -> None:
    async with office(tmp_path, ("out", Outside())) as o:
        message = Message.parse(header + b"Subject: x\r\n\r\nx\r\n")
        await accepted(o, "x@elsewhere.test", message=message, body="7BIT", require_tls=require_tls)
        ((queued, _),) = await o.store.read(list_queue)
    assert (queued.require_tls, queued.tls_optional) == (require_tls, optional)
