"""Sending by smart hosts: AUTH, TLS, pinned certificates, fallbacks, and whose mail goes by them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from appliance.config import CoreConfig, Settings
from appliance.hookspecs import hookimpl
from appliance.https import Answer, Request
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from plugins.smarthost.config import OAuthClient, SmartHost, SmarthostConfig
from plugins.smarthost.routes import Routes
from plugins.smarthost.tokens import Tokens
from plugins.smarthost.transport import SmarthostTransport
from tests.appliance.smtpclient.fake_core import make_core
from tests.appliance.smtpclient.fake_server import FULL, Authority, FakeServer, Script, always, running

MESSAGE = Message.parse(b"Subject: hello\r\n\r\nbody\r\n")
ZONE = "smtp.isp.test. A 127.0.0.1\nother.test. A 127.0.0.1"
OFFER = (*FULL, "STARTTLS", "AUTH PLAIN")


class Sender:
    """A transport with its settings."""

    def __init__(self, folder: Path, hosts: tuple[SmartHost, ...], authority: Authority, zone: str = ZONE) -> None:
        self.core = make_core(folder, zone, SmarthostConfig(hosts=hosts), authority=authority)
        self.transport = SmarthostTransport(self.core, random=Random(1))

    async def send(self, name: str = "isp", **flags: bool) -> Outcome:
        to = [Recipient(Address("a", "b.test"))]
        route = Route("smarthost", name)
        (outcome,) = await self.transport.deliver(Envelope(Address("ana", "office.test"), **flags), to, MESSAGE, route)
        return outcome


@asynccontextmanager
async def sending(
    folder: Path, *hosts: SmartHost, authority: Authority | None = None, zone: str = ZONE
) -> AsyncIterator[Sender]:
    sender = Sender(folder, hosts, authority or Authority(), zone)
    try:
        yield sender
    finally:
        await sender.transport.close()


def host(server: FakeServer, **settings: object) -> SmartHost:
    values = {"name": "isp", "host": "smtp.isp.test", "port": server.port, **settings}
    return SmartHost(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_goes_by_tls_and_auth(tmp_path: Path, implicit: bool) -> None:
    authority = Authority()
    server = FakeServer(OFFER, tls=authority.server("smtp.isp.test"), implicit_tls=implicit)
    async with running(server):
        account = host(server, username="ana", password="secret", implicit_tls=implicit)
        async with sending(tmp_path, account, authority=authority) as sender:
            assert [(await sender.send()).status for _ in range(2)] == ["delivered", "delivered"]
    assert [message.tls for message in server.messages] == [True, True]
    assert len(server.sessions) == 1
    assert server.commands[0] == "EHLO me.test"


async def test_a_wrong_password_defers_and_goes_into_no_text(tmp_path: Path) -> None:
    authority = Authority()
    async with (
        running(FakeServer(OFFER, tls=authority.server("smtp.isp.test"))) as server,
        sending(tmp_path, host(server, username="ana", password="wr0ng"), authority=authority) as sender,
    ):
        outcome = await sender.send()
    assert (outcome.status, outcome.unreachable) == ("deferred", True)
    assert str(outcome.reply) == "454 4.7.8 AUTH PLAIN as ana refused: 535 5.7.8 no"
    assert "wr0ng" not in str(outcome)


async def test_a_password_file_is_read_for_each_connection(tmp_path: Path) -> None:
    authority = Authority()
    file = tmp_path / "password"
    async with (
        running(FakeServer(OFFER, tls=authority.server("smtp.isp.test"))) as server,
        sending(tmp_path, host(server, username="ana", password_file=file), authority=authority) as sender,
    ):
        outcome = await sender.send()
        assert outcome.reply.enhanced == "4.3.5"
        assert outcome.reply.text.startswith("password_file of isp: ")
        file.write_text("\nsecret\n")
        assert (await sender.send()).reply.text == "password_file of isp: its first line is empty"
        file.write_text("secret\nsecond line\n")
        assert (await sender.send()).status == "delivered"


async def test_without_tls_nothing_leaves(tmp_path: Path) -> None:
    async with running(FakeServer()) as server, sending(tmp_path, host(server)) as sender:
        outcome = await sender.send()
        assert (outcome.status, outcome.reply.enhanced) == ("deferred", "4.7.4")
        assert server.messages == []


@pytest.mark.parametrize(
    ("tls", "verify", "status"),
    [("required", True, "deferred"), ("required", False, "delivered"), ("opportunistic", True, "delivered")],
)
async def test_an_untrusted_certificate(
    tmp_path: Path, tls: Literal["required", "opportunistic"], verify: bool, status: str
) -> None:
    async with (
        running(FakeServer(OFFER, tls=Authority().server("smtp.isp.test"))) as server,
        sending(tmp_path, host(server, tls=tls, verify=verify)) as sender,
    ):
        outcome = await sender.send()
    assert outcome.status == status
    if status == "deferred":
        assert "certificate verify failed" in outcome.reply.text


async def test_a_pinned_authority_or_certificate(tmp_path: Path) -> None:
    authority, other = Authority(), Authority()
    file = tmp_path / "isp.pem"
    async with (
        running(FakeServer(OFFER, tls=authority.server("smtp.isp.test"))) as server,
        sending(tmp_path, host(server, ca_file=file), authority=other) as sender,
    ):
        assert (await sender.send()).reply.text.startswith("ca_file of isp: ")
        file.write_text("no certificate")
        assert (await sender.send()).reply.text.startswith("ca_file of isp: ")
        authority.ca.cert_pem.write_to_path(str(file))
        assert (await sender.send()).status == "delivered"


async def test_the_fallback_is_used_while_a_host_cannot_be_used(tmp_path: Path) -> None:
    async with (
        running(FakeServer(script=always(CONNECT="421 busy"))) as busy,
        running(FakeServer()) as spare,
        sending(
            tmp_path,
            host(busy, tls="off", fallback="spare"),
            host(spare, name="spare", host="other.test", tls="off"),
        ) as sender,
    ):
        assert (await sender.send()).peer == f"other.test[127.0.0.1]:{spare.port}"
        spare.script = always(RCPT="550 5.7.1 not here")
        await sender.transport.close()
        assert (await sender.send()).status == "failed"
        spare.script = always(CONNECT="554 no")
        await sender.transport.close()
        outcome = await sender.send()
        assert str(outcome.reply) == "421 busy"  # the first one's words
        assert outcome.unreachable


async def test_the_first_hosts_verdict_is_final(tmp_path: Path) -> None:
    async with (
        running(FakeServer(script=always(TEXT="554 5.7.1 spam"))) as first,
        running(FakeServer()) as spare,
        sending(
            tmp_path, host(first, tls="off", fallback="spare"), host(spare, name="spare", host="other.test", tls="off")
        ) as sender,
    ):
        assert (await sender.send()).status == "failed"
        assert spare.sessions == []


@pytest.mark.parametrize("zone", ["", "smtp.isp.test. MX 10 mx.isp.test."])
async def test_a_host_without_address_defers(tmp_path: Path, zone: str) -> None:
    async with sending(tmp_path, SmartHost(name="isp", host="smtp.isp.test"), zone=zone) as sender:
        outcome = await sender.send()
    assert (outcome.status, outcome.reply.enhanced) == ("deferred", "4.4.4")


async def test_a_host_that_is_no_longer_configured_defers(tmp_path: Path) -> None:
    async with sending(tmp_path) as sender:
        outcome = await sender.send()
        assert sender.transport.deliveries(Route("smarthost", "isp")) == 1
    assert (outcome.status, outcome.reply.text) == ("deferred", "[smarthost] has no host 'isp' any more")


# ── routes ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Domains:
    @hookimpl
    async def own_recipient(self, recipient: Recipient) -> Literal["backup"] | None:
        return "backup" if recipient.address.domain == "backup.test" else None


async def test_routes(tmp_path: Path) -> None:
    hosts = (
        SmartHost(name="luis", host="a.test", senders=("luis@office.test",)),
        SmartHost(name="isp", host="b.test", recipients=("far.test", "backup.test")),
    )
    routes = Routes(make_core(tmp_path, "", SmarthostConfig(hosts=hosts), plugin=Domains()))

    async def route(sender: str | None, recipient: str) -> str | None:
        envelope = Envelope(Address.parse(sender) if sender else None)
        found = await routes.route_recipient(envelope=envelope, recipient=Recipient(Address.parse(recipient)))
        assert found is None or found.transport == "smarthost"
        return found.next_hop if found else None

    assert await route("luis@office.test", "a@near.test") == "luis"
    assert await route("luis@office.test", "a@far.test") == "luis"
    assert await route("ana@office.test", "a@far.test") == "isp"
    assert await route("ana@office.test", "a@near.test") is None
    assert await route(None, "a@far.test") == "isp"
    assert await route("ana@office.test", "a@backup.test") is None


@pytest.mark.parametrize(
    ("extensions", "known", "status", "enhanced"),
    [
        ((*OFFER, "REQUIRETLS"), True, "delivered", "2.0.0"),
        (OFFER, True, "failed", "5.7.30"),
        ((*OFFER, "REQUIRETLS"), False, "failed", "5.7.5"),  # any certificate is not enough for this message
    ],
)
async def test_a_message_that_demands_tls_goes_by_a_proven_host_or_back(
    tmp_path: Path, extensions: tuple[str, ...], known: bool, status: str, enhanced: str
) -> None:
    authority = Authority()
    server = FakeServer(extensions, tls=(authority if known else Authority()).server("smtp.isp.test"))
    async with (
        running(server),
        sending(tmp_path, host(server, tls="opportunistic", verify=False), authority=authority) as sender,
    ):
        assert (await sender.send()).status == "delivered"
        outcome = await sender.send(require_tls=True)
        assert (outcome.status, outcome.reply.enhanced) == (status, enhanced)
    assert len(server.messages) == 1 + (status == "delivered")


def fingerprint(server: FakeServer) -> str:
    """Of the certificate that a fake server's context shows."""
    client, incoming, outgoing = ssl.create_default_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    assert server.tls is not None
    near, far = client.wrap_bio(incoming, outgoing), server.tls.wrap_bio(outgoing, incoming, server_side=True)
    for side in (near, far, near, far):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return hashlib.sha256(near.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_pinned_fingerprint_needs_no_authority_and_takes_no_other(tmp_path: Path, implicit: bool) -> None:
    server = FakeServer(OFFER, tls=Authority().server("another.name"), implicit_tls=implicit)
    async with running(server):
        right = fingerprint(server)
        for pin, status in ((right, "delivered"), (right.upper(), "delivered"), ("ab" * 32, "deferred")):
            terms = {"fingerprints": (pin,), "implicit_tls": implicit, "tls": "opportunistic"}
            async with sending(tmp_path, host(server, **terms)) as sender:
                outcome = await sender.send()
            assert outcome.status == status
    assert "pinned" in outcome.reply.text
    assert [message.tls for message in server.messages] == [True, True]


def taking(mechanism: str, message: bytes) -> Script:
    """A server that takes this login only."""

    def script(verb: str, argument: str) -> str | None:
        if verb != "AUTH":
            return None
        right = argument == f"{mechanism} {base64.b64encode(message).decode() or '='}"
        return "235 2.7.0 welcome" if right else "535 5.7.8 no"

    return script


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ("XOAUTH2", b"user=ana\x01auth=Bearer token\x01\x01"),
        ("PLAIN OAUTHBEARER XOAUTH2", b"n,a=ana,\x01host=smtp.isp.test\x01port=%d\x01auth=Bearer token\x01\x01"),
    ],
)
async def test_a_token_logs_in(tmp_path: Path, offer: str, message: bytes) -> None:
    authority = Authority()
    server = FakeServer((*FULL, "STARTTLS", f"AUTH {offer}"), tls=authority.server("smtp.isp.test"))
    async with running(server):
        best = offer.split()[-1] if "OAUTHBEARER" not in offer else "OAUTHBEARER"
        server.script = taking(best, message % server.port if b"%d" in message else message)
        client = OAuthClient(token_url="https://id.isp.test/", client_id="p", refresh_token="r")
        async with sending(tmp_path, host(server, username="ana", oauth="isp"), authority=authority) as sender:
            assert (await sender.send()).reply.text == "there is no [smarthost.oauth.isp] any more"
            hosts = sender.core.settings[SmarthostConfig].hosts
            sender.core.settings = Settings.of(CoreConfig(), SmarthostConfig(hosts=hosts, oauth={"isp": client}))
            asked: list[Request] = []

            async def ask(request: Request) -> Answer:
                asked.append(request)
                return Answer(200, {}, b'{"access_token":"%s"}' % (b"old" if len(asked) == 1 else b"token"))

            sender.transport._tokens = Tokens(ask, lambda: 0.0)
            assert (await sender.send()).reply.enhanced == "4.7.8"  # revoked; the next one is a new one
            assert [(await sender.send()).status for _ in range(2)] == ["delivered", "delivered"]
            assert len(asked) == 2


async def test_our_certificate_logs_in(tmp_path: Path) -> None:
    authority = Authority()
    ours = authority.ca.issue_cert("office.test")
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "ours.pem"))
    ours.private_key_pem.write_to_path(str(tmp_path / "ours.key"))
    authority.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = authority.server("smtp.isp.test")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    files = {"certificate": tmp_path / "ours.pem", "key": tmp_path / "ours.key", "ca_file": tmp_path / "ca.pem"}
    server = FakeServer((*FULL, "STARTTLS", "AUTH PLAIN EXTERNAL"), tls=context, script=taking("EXTERNAL", b""))
    async with running(server):
        async with sending(tmp_path, host(server, **files), authority=authority) as sender:
            assert (await sender.send()).status == "delivered"
        server.extensions = (*FULL, "STARTTLS")  # the certificate itself is enough for this one
        async with sending(tmp_path, host(server, **files), authority=authority) as sender:
            assert (await sender.send()).status == "delivered"
        async with sending(tmp_path, host(server), authority=authority) as sender:
            assert (await sender.send()).status == "deferred"


async def test_a_group_shares_mail_and_one_that_failed_is_not_asked_first_again(tmp_path: Path) -> None:
    async with running(FakeServer()) as one, running(FakeServer()) as other:
        first = host(one, tls="off", group="both", own_name="first.office.test", source_addresses=("127.0.0.9",))
        second = host(other, name="second", host="other.test", tls="off", group="both", weight=2)
        async with sending(tmp_path, first, second) as sender:
            assert sender.transport.deliveries(Route("smarthost", "isp")) == 10
            for _ in range(12):
                assert (await sender.send()).status == "delivered"
            assert min(len(one.messages), len(other.messages)) >= 1
            assert one.commands[0] == "EHLO first.office.test"
            assert other.commands[0] == "EHLO me.test"
            await sender.transport.close()
            one.script = always(CONNECT="421 busy")
            before = len(one.sessions)
            for _ in range(6):
                assert (await sender.send()).status == "delivered"
                await sender.transport.close()
            assert len(one.sessions) - before <= 1
