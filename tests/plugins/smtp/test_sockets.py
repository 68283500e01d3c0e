"""The role over real sockets with the real store, intake, MDA, logins and TLS; Python's smtplib as the peer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import smtplib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

from appliance.auth import AuthConfig, Authenticator, Credential, make_credentials
from appliance.config import Bind, CoreConfig, Settings
from appliance.hookspecs import hookimpl
from appliance.listener import Listener
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.smtpclient import Hop, reach
from appliance.store.accounts import set_enabled
from appliance.tls import Certificates, TlsConfig
from appliance.wire.sasl.client import client
from plugins.mda.config import MdaConfig
from plugins.smtp.config import SmtpConfig
from plugins.smtp.ports import listeners
from tests.appliance.office import Office, office
from tests.ports import free_ports

T = TypeVar("T")

PASSWORD = "palomar"
STORED = make_credentials(PASSWORD)
MESSAGE = b"From: load@sender.test\r\nSubject: Hello\r\n\r\n.dots\r\nHow are you?\r\n"


class Outside:
    """Stands in for the relay role, and notes the envelopes that it is shown."""

    def __init__(self) -> None:
        self.seen: list[Envelope] = []

    @hookimpl
    async def message_received(self, envelope: Envelope, message: Message) -> Message:
        """The envelope as it was when the message came."""
        self.seen.append(replace(envelope, recipients=list(envelope.recipients)))
        return message

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        """Everything that is not local goes to transport `relay`."""
        return Route("relay", recipient.address.domain)


class Served:
    """An office whose ports are open."""

    def __init__(
        self, here: Office, running: list[Listener], config: SmtpConfig, authority: trustme.CA, seen: list[Envelope]
    ) -> None:
        self.here = here
        self.seen = seen
        self.running = running
        self.config = config
        self.mx, self.submission, self.submissions = (
            binds[0].port for binds in (config.mx, config.submission, config.submissions)
        )
        self.lmtp = config.lmtp[0].host
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)

    async def client(self, work: Callable[[Any], T], port: int = 0) -> T:
        """Run `work` with an smtplib client, on a thread as it blocks."""

        def run() -> T:
            if port == self.submissions:
                smtp: smtplib.SMTP = smtplib.SMTP_SSL("localhost", port, timeout=60, context=self.context)
            else:
                smtp = smtplib.SMTP("127.0.0.1", port or self.mx, timeout=60)
            try:
                return work(smtp)
            finally:
                smtp.close()

        return await asyncio.to_thread(run)

    async def raw(self, *bursts: bytes, port: int = 0) -> bytes:
        """Send bytes, each burst after something was answered; returns all that came until the server hung up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.mx)
        heard = await reader.readuntil(b"\r\n")
        for burst in bursts:
            writer.write(burst)
            heard += await reader.read(1 << 16)
        with contextlib.suppress(OSError):  # it may have hung up already
            writer.write_eof()
        heard += await reader.read()
        writer.close()
        return heard


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def served(tmp_path: Path, authority: trustme.CA) -> AsyncIterator[Served]:
    pair = authority.issue_cert("localhost")
    pair.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    tls = TlsConfig(certificate=tmp_path / "pair.pem", key=tmp_path / "pair.pem")
    certificates = Certificates(lambda: tls, lambda: "mail.palomar.test", tmp_path)
    certificates.load()
    binds = [(Bind("127.0.0.1", port),) for port in free_ports(3)]
    config = SmtpConfig(
        mx=binds[0], submission=binds[1], submissions=binds[2], lmtp=(Bind(str(tmp_path / "lmtp"), 0),), max_per_peer=20
    )
    outside = Outside()
    core_config = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",), data=tmp_path)

    async def find(*, login: str) -> Sequence[Credential] | None:
        account = here.store.directory.account(login)
        return [Credential(kind, login, login, data) for kind, data in STORED] if account else None

    async def nobody(*, login: str, password: str) -> str | None:
        return None

    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(office(tmp_path, ("outside", outside), config=core_config))
        here.core.settings = Settings.of(core_config, MdaConfig(), config)
        here.core.certificates = certificates
        here.core.auth = Authenticator(
            lambda: AuthConfig(failure_delay=0.0, channel_binding=True),
            find=find,
            verify_external=nobody,
            secret=b"s" * 32,
        )
        stack.callback(here.core.auth.close)
        running = listeners(here.core, [])
        for service in running:
            ready = asyncio.Event()
            task = asyncio.create_task(service.run(ready.set))
            await ready.wait()
            stack.push_async_callback(_stop, task)
        yield Served(here, running, config, authority, outside.seen)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


# ── the ways in ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_message_from_another_server(served: Served) -> None:
    def work(smtp: smtplib.SMTP) -> bytes:
        smtp.ehlo("load.sender.test")
        smtp.mail("load@sender.test", ["SIZE=100"])
        smtp.rcpt("ana@palomar.test")
        return smtp.data(MESSAGE)[1]

    said = await served.client(work)
    (stored,) = await served.here.inbox("ana@palomar.test")
    name = said.rpartition(b" ")[2]
    assert re.fullmatch(
        rb"Return-Path: <load@sender\.test>\r\nDelivered-To: ana@palomar\.test\r\n"
        rb"Received: from load\.sender\.test \(\[127\.0\.0\.1\]\)\r\n"
        rb"\tby mail\.palomar\.test \(Palomar\) with ESMTP id " + name + rb"\r\n"
        rb"\tfor <ana@palomar\.test>;\r\n\t[^\r]+\r\n" + re.escape(MESSAGE),
        stored,
    )


async def test_submission_by_starttls_and_login(served: Served) -> None:
    def work(smtp: smtplib.SMTP) -> dict[str, Any]:
        smtp.ehlo("laptop")
        assert "auth" in smtp.esmtp_features  # from loopback even without TLS
        smtp.starttls(context=served.context)
        smtp.ehlo("laptop")
        assert "starttls" not in smtp.esmtp_features
        assert {"PLAIN", "SCRAM-SHA-256"} <= set(smtp.esmtp_features["auth"].split())
        smtp.login("ana@palomar.test", PASSWORD)
        return smtp.sendmail("ana@palomar.test", ["x@elsewhere.test", "luis@palomar.test"], b"Subject: x\r\n\r\nHi\r\n")

    # smtplib checks the certificate against the name it connected to.
    served.context.check_hostname = False
    assert await served.client(work, served.submission) == {}
    ((_, message),) = served.here.queued
    assert message.header.startswith(b"Received: from laptop ([127.0.0.1])\r\n\tby mail.palomar.test ")
    assert b" with ESMTPSA id " in message.header
    assert b"\r\nDate: " in message.header
    assert b"\r\nMessage-ID: <" in message.header
    assert len(await served.here.inbox("luis@palomar.test")) == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "LOGIN"])
async def test_every_mechanism_logs_in(mechanism: str, served: Served) -> None:
    binding = served.here.core.certificates.binding("localhost")
    bound = mechanism.endswith("-PLUS")
    proof = client(
        mechanism,
        "ana@palomar.test",
        PASSWORD,
        nonce=b"fyko+d2lbbFgONRv9qkxdawL",
        binding=binding if bound else b"",
        plus_offered=bound,
    )

    def answer(challenge: bytes | None = None) -> str | None:
        said = proof.step(challenge)
        return None if said is None else said.decode()

    def work(smtp: smtplib.SMTP) -> tuple[int, bytes]:
        smtp.ehlo("laptop")
        return smtp.auth(mechanism, answer)  # type: ignore[arg-type]

    assert await served.client(work, served.submissions) == (235, b"2.7.0 Authentication successful")
    assert proof.done


async def test_submission_over_implicit_tls(served: Served) -> None:
    def work(smtp: smtplib.SMTP) -> None:
        with pytest.raises(smtplib.SMTPSenderRefused, match="530"):
            smtp.sendmail("ana@palomar.test", ["luis@palomar.test"], MESSAGE)
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            smtp.login("ana@palomar.test", "wrong")
        smtp.login("ana@palomar.test", PASSWORD)
        with pytest.raises(smtplib.SMTPSenderRefused, match="553"):
            smtp.sendmail("luis@palomar.test", ["luis@palomar.test"], MESSAGE)
        smtp.sendmail("ana+shop@palomar.test", ["luis@palomar.test"], MESSAGE)

    await served.client(work, served.submissions)
    (stored,) = await served.here.inbox("luis@palomar.test")
    assert b"Return-Path: <ana+shop@palomar.test>" in stored


async def test_lmtp_over_a_unix_socket(served: Served) -> None:
    def work() -> list[bytes]:
        with smtplib.LMTP(served.lmtp) as lmtp:
            lmtp.ehlo("mta.test")  # it says LHLO
            assert "auth" not in lmtp.esmtp_features
            lmtp.mail("a@sender.test")
            codes = [lmtp.rcpt(name)[0] for name in ("ana@palomar.test", "no@palomar.test", "luis@palomar.test")]
            assert codes == [250, 550, 250]
            assert lmtp.rcpt("x@elsewhere.test")[0] == 550
            lmtp.docmd("DATA")
            lmtp.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            return [lmtp.getreply()[1], lmtp.getreply()[1]]

    assert all(said.startswith(b"2.0.0 Stored as ") for said in await asyncio.to_thread(work))
    for account in ("ana@palomar.test", "luis@palomar.test"):
        (stored,) = await served.here.inbox(account)
        assert stored.endswith(MESSAGE)
        assert b"Received: from mta.test (local)\r\n\tby mail.palomar.test (Palomar) with LMTP id " in stored


async def test_chunks_of_a_large_message(served: Served) -> None:
    text = b"Subject: large\r\n\r\n" + b"".join(b"line %d\r\n" % n for n in range(150_000))
    wire = b"".join(
        b"BDAT %d%b\r\n%b" % (len(piece), b" LAST" if start + 300_000 >= len(text) else b"", piece)
        for start in range(0, len(text), 300_000)
        for piece in [text[start : start + 300_000]]
    )
    envelope = b"EHLO x.test\r\nMAIL FROM:<>\r\nRCPT TO:<ana@palomar.test>\r\n"
    heard = await served.raw(envelope + wire + b"QUIT\r\n")
    assert b"221 2.0.0 Goodbye" in heard
    (stored,) = await served.here.inbox("ana@palomar.test")
    assert stored.endswith(text)


# ── the ways not in ──────────────────────────────────────────────────────────────────────────────────────────────

OUTSIDERS = [
    b"<x@elsewhere.test>",
    b"<@palomar.test:x@elsewhere.test>",
    b"<@mail.palomar.test,@palomar.test:x@elsewhere.test>",
    b"<x%elsewhere.test@palomar.test>",
    b"<x%elsewhere.test@mail.palomar.test>",
    b"<elsewhere.test!x@palomar.test>",
    b"<palomar.test!x@elsewhere.test>",
    b'<"x@elsewhere.test"@palomar.test>',
    b'<"x@elsewhere.test">',
    b'<"x"@elsewhere.test>',
    b'<"ana@palomar.test"@elsewhere.test>',
    b"<x@elsewhere.test@palomar.test>",
    b"<x@[127.0.0.1]>",
    b"<x@[IPv6:::1]>",
    b"<x@localhost>",
    b"<ana@sub.palomar.test>",
    b"<ana@palomar.test.elsewhere.test>",
    b"<x@ELSEWHERE.TEST>",
    "<x@élsewhere.test>".encode(),
    "<ana@palomar.test\u3002elsewhere.test>".encode(),
    "<ana＠palomar.test>".encode(),
    "<x@palomar。test>".encode(),
    b"<postmaster@elsewhere.test>",
    b"x@elsewhere.test",
    b"<x>",
    b"<x@elsewhere.test,ana@palomar.test>",
    b"<ana@palomar.test> <x@elsewhere.test>",
]


@pytest.mark.parametrize(
    "sender", [b"<x@sender.test>", b"<>", b"<ana@palomar.test>", b"<@palomar.test:ana@palomar.test>"]
)
async def test_no_address_leads_from_outside_to_outside(sender: bytes, served: Served) -> None:
    mail = b"EHLO x.test\r\nMAIL FROM:" + sender + b" SMTPUTF8\r\n"
    for start in range(0, len(OUTSIDERS), 15):
        rcpts = OUTSIDERS[start : start + 15]
        heard = await served.raw(mail + b"".join(b"RCPT TO:%b\r\n" % rcpt for rcpt in rcpts) + b"DATA\r\n")
        codes = [line[:3] for line in heard.split(b"250 2.1.0 Sender ok\r\n")[1].split(b"\r\n")[:-1]]
        assert len(codes) == len(rcpts) + 1
        assert {code[:1] for code in codes} == {b"5"}
    assert served.here.queued == []


async def test_commands_behind_starttls_are_never_run(served: Served) -> None:
    heard = await served.raw(b"EHLO x.test\r\n", b"STARTTLS\r\nMAIL FROM:<evil@sender.test>\r\n")
    assert heard.endswith(b"503 5.5.0 Nothing may follow STARTTLS before its answer, closing\r\n")


async def test_a_smuggled_message_does_not_arrive(served: Served) -> None:
    envelope = b"EHLO x.test\r\nMAIL FROM:<>\r\nRCPT TO:<ana@palomar.test>\r\nDATA\r\n"
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r"):
        text = b"A: 1\r\n\r\ntext" + end + envelope[13:] + b"B: 2\r\n.\r\n"
        heard = await served.raw(envelope, text, b"QUIT\r\n")
        assert b"554 5.6.0 " in heard
        assert heard.endswith(b"221 2.0.0 Goodbye\r\n")
    assert await served.here.inbox("ana@palomar.test") == []


GARBAGE = {
    "nothing": b"",
    "nul": b"\0" * 5000,
    "bytes": b"\xff" * 20_000,
    "returns": b"\r" * 100 + b"\n",
    "browser": b"GET / HTTP/1.0\r\n\r\n",
    "endless line": b"x" * 300_000,
    "handshake": b"\x16\x03\x01" * 9,
}


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_on_a_port_bothers_nobody_else(garbage: str, served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.mx)
    await reader.readuntil(b"\r\n")
    for port in (served.mx, served.submission, served.submissions):
        answers, junk = await asyncio.open_connection("127.0.0.1", port)
        junk.write(GARBAGE[garbage])
        junk.write_eof()
        with contextlib.suppress(ConnectionResetError):  # who sends without end may see that instead of an answer
            heard = await answers.read()
            assert heard.startswith(b"220 ") is (port != served.submissions)
        junk.close()
    writer.write(b"NOOP\r\n")
    assert await reader.readuntil(b"\r\n") == b"250 2.0.0 Ok\r\n"
    writer.close()


async def test_one_peer_cannot_take_every_connection(served: Served) -> None:
    writers = []
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.mx)
        assert (await reader.readuntil(b"\r\n")).startswith(b"220 ")
        writers.append(writer)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.mx)
    assert await reader.read() == b"421 4.3.2 Too many connections, try again later\r\n"
    for one in (*writers, writer):
        one.close()


async def test_a_session_ends_with_its_account(served: Served) -> None:
    def work(smtp: smtplib.SMTP) -> bytes:
        smtp.ehlo("laptop")
        smtp.login("ana@palomar.test", PASSWORD)
        loop.call_soon_threadsafe(disabling.set)
        return smtp.getreply()[1]

    async def disable() -> None:
        await disabling.wait()
        await served.here.store.write(lambda db: set_enabled(db, "ana@palomar.test", enabled=False))

    loop, disabling = asyncio.get_running_loop(), asyncio.Event()
    goodbye, _ = await asyncio.gather(served.client(work, served.submissions), disable())
    assert b"4.3.2" in goodbye


async def test_goodbye_at_shutdown(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.mx)
    await reader.readuntil(b"\r\n")
    listener = served.running[0]
    for connection in listener.connections:
        connection.stop()
    assert await reader.read() == b"421 4.3.2 The service is shutting down, try again later\r\n"
    writer.close()


# ── our own client ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["smtp", "tls", "lmtp"])
async def test_one_appliance_passes_on_to_another_what_was_asked_for(served: Served, way: str) -> None:
    """The client's and the server's machine back to back: binary text, and every parameter that both know."""
    text = b"\0\r\n.\r\n\xff\r not the end \n" * 3000
    message = Message(b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\n", text)
    now = int(time.time())
    asked = Envelope(
        Address("a", "sender.test"), ret="HDRS", envid="id=1", body="BINARYMIME", priority=-2,
        deliver_by=now + 500, by_mode="R", require_tls=way == "tls",
    )  # fmt: skip
    recipients = [Recipient(Address("ana", "palomar.test"), frozenset({"NEVER"}), "rfc822;o@old.test")]

    def context(verify: bool) -> ssl.SSLContext:
        assert verify is (way == "tls")
        return served.context

    hop = Hop(
        host=served.lmtp if way == "lmtp" else "localhost",
        port=0 if way == "lmtp" else served.mx,
        own_name="outer.test",
        lmtp=way == "lmtp",
        tls="verified" if way == "tls" else "off",
    )
    address = served.lmtp if way == "lmtp" else "127.0.0.1"
    async with contextlib.aclosing(reach(hop, [address], context)) as clients:
        client = await anext(clients)
        (outcome,) = await client.send(asked, recipients, message)
        await client.quit()
    assert outcome.status == "delivered", outcome.reply
    (envelope,) = served.seen
    assert now + 490 < envelope.deliver_by <= now + 501
    assert replace(envelope, deliver_by=asked.deliver_by) == replace(asked, recipients=recipients, size=message.size)
    (stored,) = await served.here.inbox("ana@palomar.test")
    header, _, encoded = stored.partition(b"\r\n\r\n")
    assert b"\r\nContent-Transfer-Encoding: base64" in header
    assert b"\tPRIORITY -2" in header
    assert base64.b64decode(encoded) == text
