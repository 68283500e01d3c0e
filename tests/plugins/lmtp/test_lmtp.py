"""Mail handed over by LMTP: whose it is, each recipient's own answer, and two of our own machines back to back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.config import Bind, CoreConfig, Settings
from appliance.core import Core
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from plugins.lmtp.config import LmtpConfig
from plugins.lmtp.routes import Routes
from plugins.lmtp.transport import LmtpTransport
from tests.appliance.smtpclient.fake_server import FakeServer, running

MESSAGE = Message.parse(b"Subject: x\r\n\r\nx\r\n")
ROUTE = Route("lmtp", "inside.test")


def no_context(verify: bool) -> None:
    """Nobody here speaks TLS."""


def core(**config: Any) -> Core:
    unused: Any = None
    settings = Settings.of(CoreConfig(hostname="outer.test"), LmtpConfig(**config))
    names = ("store", "dispatch", "auth", "certificates", "resolver", "trace", "intake", "queue")
    certificates: Any = type("Certificates", (), {"client_context": staticmethod(no_context)})
    return Core(settings=settings, **dict.fromkeys(names, unused) | {"certificates": certificates})


def to(*names: str) -> list[Recipient]:
    return [Recipient(Address(name, "inside.test")) for name in names]


@asynccontextmanager
async def on_a_socket(server: FakeServer, path: Path) -> AsyncIterator[str]:
    listener = await asyncio.start_unix_server(server.serve, path)
    try:
        yield f"unix:{path}"
    finally:
        listener.close()


async def delivered(where: str, *names: str, **config: Any) -> list[Outcome]:
    transport = LmtpTransport(core(next_hops={"Inside.test": Bind.parse(where)}, **config))
    outcomes = await transport.deliver(Envelope(None), to(*names), MESSAGE, ROUTE)
    await transport.close()
    return outcomes


async def test_domains_of_the_settings_are_ours_to_pass_on() -> None:
    routes = Routes(core(next_hops={"Inside.test": Bind.parse("127.0.0.1:24")}))
    (inside,), outside = to("a"), Recipient(Address("a", "outside.test"))
    assert (await routes.own_recipient(inside), await routes.route_recipient(inside)) == ("relay", ROUTE)
    assert (await routes.own_recipient(outside), await routes.route_recipient(outside)) == (None, None)


def by_name(verb: str, argument: str) -> str | None:
    if verb == "RCPT" and "gone" in argument:
        return "550 5.1.1 nobody"
    return "452 4.2.2 full" if verb == "TEXT" and "full" in argument else None


@pytest.mark.parametrize("extensions", [("PIPELINING",), ("PIPELINING", "CHUNKING"), ()], ids=str)
async def test_every_recipient_has_its_own_answer(extensions: tuple[str, ...], tmp_path: Path) -> None:
    server = FakeServer(extensions, by_name, lmtp=True)
    async with on_a_socket(server, tmp_path / "lmtp") as where:
        outcomes = await delivered(where, "ana", "gone", "full")
    assert [(one.status, one.reply.enhanced) for one in outcomes] == [
        ("delivered", "2.0.0"),
        ("failed", "5.1.1"),
        ("deferred", "4.2.2"),
    ]
    assert server.commands[0] == "LHLO outer.test"


async def test_handing_over_is_the_delivery(tmp_path: Path) -> None:
    server = FakeServer((), lmtp=True)  # which knows neither times nor REQUIRETLS
    async with on_a_socket(server, tmp_path / "lmtp") as where:
        transport = LmtpTransport(core(next_hops={"inside.test": Bind.parse(where)}))
        asked = Envelope(Address("a", "b.test"), deliver_by=1, by_mode="RT", require_tls=True)
        (outcome,) = await transport.deliver(asked, to("ana"), MESSAGE, ROUTE)
        await transport.close()
    assert (outcome.status, outcome.final) == ("delivered", True)
    assert server.messages[0].mail == "FROM:<a@b.test>"


async def test_a_server_at_an_address_is_reached_too_and_asked_about_recipients() -> None:
    server = FakeServer(("PIPELINING",), by_name, lmtp=True)
    async with running(server):
        where = f"127.0.0.1:{server.port}"
        assert [one.status for one in await delivered(where, "ana")] == ["delivered"]
        transport = LmtpTransport(core(next_hops={"inside.test": Bind.parse(where)}))
        answers = [(await transport.call_out(one, ROUTE)).code for one in to("ana", "gone")]
    assert answers == [250, 550]


async def test_mail_waits_while_the_server_or_its_setting_is_away(tmp_path: Path) -> None:
    (outcome,) = await delivered(f"unix:{tmp_path}/nobody", "ana")
    assert (outcome.status, outcome.unreachable) == ("deferred", True)
    (outcome,) = await LmtpTransport(core()).deliver(Envelope(None), to("ana"), MESSAGE, ROUTE)
    assert (outcome.status, outcome.reply.enhanced) == ("deferred", "4.3.5")


def test_settings_that_cannot_be_are_told() -> None:
    config = LmtpConfig(next_hops={"in side": Bind.parse(":24")}, deliveries=0)
    assert [problem.setting for problem in config.problems()] == ['next_hops."in side"'] * 2 + ["deliveries"]
