"""Delivery by MX against servers on loopback addresses and names from a zone file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from appliance.config import CoreConfig, Settings
from appliance.loading import load
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from plugins.relay.config import Identity, RelayConfig
from plugins.relay.transport import RelayTransport
from tests.appliance.smtpclient.fake_core import make_core
from tests.appliance.smtpclient.fake_server import FULL, Authority, FakeServer, Script, always, running

MESSAGE = Message.parse(b"Subject: hello\r\n\r\nbody\r\n")


class World:
    """Servers by address, all on one port, and a relay that knows them from its zone."""

    def __init__(self, folder: Path, zone: str, stack: AsyncExitStack, authority: Authority) -> None:
        self.folder, self.zone, self.stack, self.authority = folder, zone, stack, authority
        self.servers: dict[str, FakeServer] = {}
        self.port = 0
        self.relay: RelayTransport | None = None

    async def serve(self, ip: str, script: Script | None = None, **facts: object) -> FakeServer:
        server = FakeServer(port=self.port, **({"script": script} if script else {}), **facts)  # type: ignore[arg-type]
        await self.stack.enter_async_context(running(server, ip))
        self.port = server.port
        self.servers[ip] = server
        return server

    async def send(self, domain: str, policy: str = "", **settings: object) -> Outcome:
        if self.relay is None:
            config = RelayConfig(**{"port": self.port or 1, "families": "ipv4", **settings})  # type: ignore[arg-type]
            core = make_core(self.folder, self.zone, config, authority=self.authority)
            self.relay = RelayTransport(core, random=Random(1))
            self.stack.push_async_callback(self.relay.close)
        to = [Recipient(Address("a", domain))]
        route = Route("relay", domain, policy)
        (outcome,) = await self.relay.deliver(Envelope(Address("ana", "me.test")), to, MESSAGE, route)
        return outcome


@asynccontextmanager
async def world(folder: Path, zone: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(folder, zone, stack, Authority())


ZONE = """
b.test. MX 10 mx1.b.test.
b.test. MX 20 mx2.b.test.
mx1.b.test. A 127.0.0.1
mx2.b.test. A 127.0.0.2
"""


async def test_the_preferred_exchanger_gets_the_mail_over_one_connection(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        first, second = await place.serve("127.0.0.1"), await place.serve("127.0.0.2")
        for _ in range(3):
            outcome = await place.send("b.test")
            assert (outcome.status, outcome.peer) == ("delivered", f"mx1.b.test[127.0.0.1]:{place.port}")
            assert outcome.relayed_dsn
        assert (len(first.messages), len(first.sessions), len(second.sessions)) == (3, 1, 0)
        assert first.commands[0] == "EHLO me.test"


@pytest.mark.parametrize("script", [None, always(CONNECT="554 no"), always(CONNECT="421 busy"), always(MAIL="421 bye")])
async def test_the_next_exchanger_is_asked_when_one_cannot_be_used(tmp_path: Path, script: Script | None) -> None:
    async with world(tmp_path, ZONE) as place:
        second = await place.serve("127.0.0.2")
        if script is not None:
            await place.serve("127.0.0.1", script)
        assert (await place.send("b.test")).status == "delivered"
        assert len(second.messages) == 1


async def test_a_verdict_on_the_recipient_is_not_taken_elsewhere(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        await place.serve("127.0.0.1", always(RCPT="451 4.7.1 greylisted"))
        second = await place.serve("127.0.0.2")
        outcome = await place.send("b.test")
        assert (outcome.status, outcome.unreachable, str(outcome.reply)) == ("deferred", False, "451 4.7.1 greylisted")
        assert second.sessions == []


async def test_nobody_can_be_reached(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        outcome = await place.send("b.test")
        assert (outcome.status, outcome.unreachable, outcome.reply.enhanced) == ("deferred", True, "4.4.1")
        assert outcome.peer == "mx2.b.test[127.0.0.2]:1"


@pytest.mark.parametrize(
    ("zone", "domain", "reply"),
    [
        ("", "nowhere.test", "550 5.1.2 there is no domain nowhere.test"),
        ("null.test. MX 0 .", "null.test", "556 5.1.10"),
        ("me.test. A 127.0.0.1\nb.test. MX 10 me.test.", "b.test", "554 5.4.6 mail for b.test loops back to this host"),
        ("me.test. A 127.0.0.1", "me.test", "554 5.4.6 mail for me.test loops back to this host"),
        ("b.test. MX 10 gone.b.test.", "b.test", "550 5.4.4 no mail exchanger of b.test has an address"),
        ('b.test. TXT "no mail here"', "b.test", "550 5.4.4 no mail exchanger of b.test has an address"),
    ],
)
async def test_domains_that_take_no_mail(tmp_path: Path, zone: str, domain: str, reply: str) -> None:
    async with world(tmp_path, zone) as place:
        outcome = await place.send(domain)
        assert (outcome.status, outcome.unreachable) == ("failed", False)
        assert str(outcome.reply).startswith(reply)
        assert outcome.peer == ""  # nobody else said so


async def test_without_mx_the_domain_itself_is_the_exchanger(tmp_path: Path) -> None:
    async with world(tmp_path, "b.test. A 127.0.0.1") as place:
        await place.serve("127.0.0.1")
        assert (await place.send("b.test")).peer == f"b.test[127.0.0.1]:{place.port}"


async def test_address_literals(tmp_path: Path) -> None:
    async with world(tmp_path, "") as place:
        await place.serve("127.0.0.1")
        assert (await place.send("[127.0.0.1]")).peer == f"[127.0.0.1]:{place.port}"
        assert (await place.send("[127.0.0.1]:1")).peer == "[127.0.0.1]:1"  # nobody is there


async def test_a_backup_sends_only_to_the_exchangers_before_it(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + "b.test. MX 15 me.test.") as place:
        second = await place.serve("127.0.0.2")
        assert (await place.send("b.test")).status == "deferred"
        assert second.sessions == []


async def test_a_host_that_turns_out_to_be_ourselves_gets_nothing_nor_do_those_behind_it(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        server = await place.serve("127.0.0.1", always(EHLO="250 Me.Test"))
        behind = await place.serve("127.0.0.2")
        outcome = await place.send("b.test")
        assert str(outcome.reply) == "554 5.4.6 mail for b.test loops back to this host"
        assert outcome.peer == ""
        assert server.verbs == [["EHLO"]]
        assert behind.sessions == []


async def test_all_addresses_of_an_exchanger_are_tried(tmp_path: Path) -> None:
    zone = "b.test. MX 10 mx.b.test.\n" + "\n".join(f"mx.b.test. A 127.0.0.{n}" for n in (1, 2, 3))
    async with world(tmp_path, zone) as place:
        await place.serve("127.0.0.3")
        assert (await place.send("b.test")).peer == f"mx.b.test[127.0.0.3]:{place.port}"


async def test_only_so_many_exchangers_are_tried(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        await place.serve("127.0.0.2")
        assert (await place.send("b.test", max_exchangers=1)).status == "deferred"


@pytest.mark.parametrize(
    ("settings", "policy", "tls"),
    [
        ({}, "", True),
        ({"tls": "off"}, "", False),
        ({"tls": "off", "tls_by_domain": {"b.test": "required"}}, "", True),
        ({"tls": "off"}, "verified", True),
        ({}, "off", False),
    ],
)
async def test_tls_policies(tmp_path: Path, settings: dict[str, object], policy: str, tls: bool) -> None:
    async with world(tmp_path, ZONE) as place:
        context = place.authority.server("mx1.b.test")
        server = await place.serve("127.0.0.1", extensions=(*FULL, "STARTTLS"), tls=context)
        assert (await place.send("b.test", policy, **settings)).status == "delivered"
        assert server.messages[0].tls is tls


async def test_required_tls_defers_where_there_is_none(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        server = await place.serve("127.0.0.1")
        outcome = await place.send("b.test", "required")
        assert outcome.status == "deferred"
        assert server.messages == []


async def test_a_next_hop_is_asked_whatever_dns_says_of_the_domain(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + "inside.test. A 127.0.0.3\n") as place:
        server = await place.serve("127.0.0.3")
        outcome = await place.send("[inside.test]")
        assert (outcome.status, outcome.peer) == ("delivered", f"inside.test[127.0.0.3]:{place.port}")
        assert len(server.messages) == 1
        outcome = await place.send("[gone.test]")
        assert (outcome.status, outcome.reply.enhanced) == ("deferred", "4.4.4")


async def test_the_plugin_takes_what_nobody_else_routes() -> None:
    manager, problems = load(["relay"])
    assert problems == []
    (implementation,) = manager.hook.route_recipient.get_hookimpls()
    assert implementation.trylast
    route = await implementation.function(recipient=Recipient(Address("a", "b.test")))
    assert route == Route("relay", "b.test")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": 0}, "port"),
        ({"own_name": "not a name"}, "own_name"),
        ({"tls_by_domain": {"?": "off"}}, "tls_by_domain"),
        ({"source_addresses": ("mail.test",)}, "source_addresses"),
        ({"source_addresses": ("192.0.2.1", "192.0.2.2")}, "one IPv4 and one IPv6"),
        ({"deliveries_per_destination": 0}, "deliveries_per_destination"),
        ({"messages_per_connection": 0}, "messages_per_connection"),
        ({"idle_seconds": -1}, "idle_seconds"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"max_exchangers": 0}, "max_exchangers"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], words: str) -> None:
    [problem] = RelayConfig(**settings).problems()  # type: ignore[arg-type]
    assert words in f"{problem.setting} {problem.text} {problem.remedy}"


async def test_a_notice_about_a_message_that_demanded_tls_goes_where_it_can(tmp_path: Path) -> None:
    """RFC 8689 section 5: it holds nothing of the text, and must not be lost."""
    async with world(tmp_path, ZONE) as place:
        server = await place.serve("127.0.0.1")
        await place.send("b.test")
        assert place.relay is not None
        to = [Recipient(Address("a", "b.test"))]
        route = Route("relay", "b.test")
        for sender, status in ((Address("ana", "me.test"), "failed"), (None, "delivered")):
            [outcome] = await place.relay.deliver(Envelope(sender, require_tls=True), to, MESSAGE, route)
            assert outcome.status == status
        assert "REQUIRETLS" not in server.messages[-1].mail


async def test_some_mail_leaves_under_another_name_and_address(tmp_path: Path) -> None:
    shop = Identity(senders=("shop.test",), own_name="shop.me.test", source_addresses=("127.0.0.5",))
    partner = Identity(recipients=("*.partner.test", "b.test"), own_name="partner.me.test")
    async with world(tmp_path, ZONE) as place:
        server = await place.serve("127.0.0.1")
        await place.send("b.test", identities=(shop,))
        assert place.relay is not None
        config = place.relay._core.settings[RelayConfig]
        for sender, identities in (
            ("ana@shop.test", (shop, partner)),
            ("ana@me.test", (shop, partner)),
            (None, (shop,)),
        ):
            core = place.relay._core
            core.settings = Settings.of(CoreConfig(hostname="me.test"), replace(config, identities=identities))
            envelope = Envelope(Address.parse(sender) if sender else None)
            recipient = Recipient(Address("a", "b.test"))
            (outcome,) = await place.relay.deliver(envelope, [recipient], MESSAGE, Route("relay", "b.test"))
            assert outcome.status == "delivered"
        hellos = [line for line in server.commands if line.startswith("EHLO")]
        assert hellos == [
            "EHLO me.test",
            "EHLO shop.me.test",
            "EHLO partner.me.test",
        ]  # the last by the first's connection


def test_identities_that_are_none() -> None:
    made = Identity(senders=("a b",), recipients=("-",), own_name="-", source_addresses=("x",))
    assert [problem.setting for problem in made.problems()] == ["senders", "recipients", "own_name", "source_addresses"]


SHARED = """
b.test. MX 10 mx.c.test.
b.test. MX 20 mx2.c.test.
d.test. MX 10 mx.c.test.
mx.c.test. A 127.0.0.1
mx2.c.test. A 127.0.0.2
"""


async def test_a_dead_host_is_known_to_all_domains_whose_mail_it_takes(tmp_path: Path) -> None:
    async with world(tmp_path, SHARED) as place:
        await place.serve("127.0.0.2")
        assert (await place.send("b.test")).status == "delivered"  # by the second host
        back = await place.serve("127.0.0.1")
        outcome = await place.send("d.test")
        assert (outcome.status, outcome.unreachable, back.sessions) == ("deferred", True, [])
        assert "not asked again so soon" in outcome.reply.text
        assert place.relay is not None
        place.relay.forgive()
        assert (await place.send("d.test")).status == "delivered"
