"""Domains that are passed on: their mail goes to the host that they name, before anything else is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.config import CoreConfig, Settings
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Recipient
from plugins.mda.config import MdaConfig
from plugins.relay.config import RelayConfig
from plugins.relay.routes import Routes
from tests.appliance.office import Office, office


@pytest.fixture
async def passing_on(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as made:
        relay = RelayConfig(tls_by_domain={"inside.test": "required"})
        made.core.settings = Settings.of(made.core.settings[CoreConfig], MdaConfig(), relay)
        await made.domain("inside.test", kind="relay", next_hop="mail.inside.test")
        await made.domain("six.test", kind="relay", next_hop="2001:db8::1")
        await made.domain("kept.test", kind="backup")
        await made.domain("named.test", kind="backup", next_hop="192.0.2.25")
        yield made


@pytest.mark.parametrize(
    ("recipient", "route"),
    [
        ("a@inside.test", Route("relay", "[mail.inside.test]", "required")),
        ("a@six.test", Route("relay", "[2001:db8::1]")),
        ("a@kept.test", Route("backup", "kept.test")),  # by its exchangers
        ("a@named.test", Route("backup", "[192.0.2.25]")),
        ("ana@palomar.test", None),
        ("a@elsewhere.test", None),
    ],
)
async def test_the_route(passing_on: Office, recipient: str, route: Route | None) -> None:
    assert await Routes(passing_on.core).route_recipient(Recipient(Address.parse(recipient))) == route


async def test_anybody_may_send_to_it(passing_on: Office) -> None:
    assert (await passing_on.rcpt(passing_on.begin(), "a@elsewhere.test")).code == 550
    reply = await passing_on.rcpt(passing_on.begin(), "a@inside.test")
    assert (reply.code, reply.enhanced) == (550, "5.1.2")  # ours, but this office has no relay to take it there


async def test_a_domain_that_the_configuration_has_is_local(passing_on: Office) -> None:
    config = CoreConfig(hostname="mail.palomar.test", domains=("inside.test",))
    passing_on.core.settings = Settings.of(config, MdaConfig(), RelayConfig())
    assert await Routes(passing_on.core).route_recipient(Recipient(Address.parse("a@inside.test"))) is None
