"""The role in an office: who gets a return address, what comes back, keys that change, senders that are too long."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.config import CoreConfig, Section, Settings
from appliance.document import Document
from appliance.errors import ConfigError
from appliance.hookspecs import hookimpl
from appliance.mail.address import MAX_LOCAL, Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.settings import settings_from
from plugins import srs
from plugins.mda.config import MdaConfig
from plugins.srs.config import SrsConfig
from plugins.srs.rewriting import DAY_S, Rewriting, rotate
from plugins.srs.schema import MIGRATIONS
from tests.appliance.office import Office, office

LUIS = "luis@elsewhere.test"
LONG = f"{'very-' * 11}long@a-domain-of-some-length.example.test"


class Outside:
    """Stands in for the relay role."""

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


class Place:
    """An office with the role, and a clock that tests turn."""

    def __init__(self, o: Office) -> None:
        self.o = o
        self.now = 1_800_000_000.0
        o.core.now = lambda: self.now

    def configure(self, **settings: Any) -> None:
        core = self.o.core.settings[CoreConfig]
        self.o.core.settings = Settings.of(core, MdaConfig(), SrsConfig(**settings))

    async def out(self, sender: str | None, *to: str, via: str = "info@palomar.test") -> str | None:
        """The sender that the next hop would see, or None if it stays."""
        recipients = [Recipient(Address.parse(one)) for one in to or ("new@third.test",)]
        envelope = Envelope(Address.parse(sender) if sender else None, recipients)
        route = Route("relay", "third.test")
        found = await self.o.core.dispatch.outbound_sender(envelope=envelope, via=via, route=route)
        return str(found) if found is not None else None

    async def back(self, address: str) -> str:
        """Where a bounce to the address goes, or the reply that refuses it."""
        transaction = self.o.begin(None)
        reply = await self.o.rcpt(transaction, address)
        if not reply.positive:
            return str(reply)
        ((routed,),) = transaction.routed
        return f"{routed.route.transport} {routed.recipient.address}"

    async def made(self, sender: str = LUIS) -> str:
        found = await self.out(sender)
        assert found is not None
        return found


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with office(tmp_path, ("srs", srs), ("relay", Outside())) as o:
        await o.store.write(lambda db: migrate_into(db))
        made = Place(o)
        made.configure()
        yield made


def migrate_into(db: Any) -> None:
    for step in MIGRATIONS:
        step.apply(db)


async def test_a_bounce_comes_back_to_who_wrote(place: Place) -> None:
    address = await place.made()
    assert address.startswith("SRS0=")
    assert address.endswith("=elsewhere.test=luis@palomar.test")
    assert await place.back(address) == f"relay {LUIS}"
    assert await place.back(address.lower()) == f"relay {LUIS}"


@pytest.mark.parametrize(
    ("sender", "to", "via"),
    [
        (LUIS, "new@third.test", ""),
        ("ana@palomar.test", "new@third.test", "info@palomar.test"),
        ("root@mail.palomar.test", "new@palomar.test", "info@palomar.test"),
        (LUIS, "new@inner.test", "info@palomar.test"),
        ("a@partner.test", "new@third.test", "info@palomar.test"),
        ("a@news.partner.test", "new@third.test", "info@palomar.test"),
    ],
)
async def test_whose_sender_stays(place: Place, sender: str, to: str, via: str) -> None:
    place.configure(exclude=("Partner.test", "*.partner.test"))
    await place.o.domain("inner.test", kind="relay", next_hop="inner")
    assert await place.out(sender, to, via=via) is None


async def test_one_recipient_outside_is_enough(place: Place) -> None:
    await place.o.domain("inner.test", kind="relay", next_hop="inner")
    assert await place.out(LUIS, "new@inner.test", "new@third.test") is not None


@pytest.mark.parametrize(
    "change", [("elsewhere", "elsewhexe"), ("SRS0=", "SRS0=x"), ("=luis", "=an"), ("SRS0", "SRS1")]
)
async def test_what_was_changed_is_refused_whatever_else_would_take_it(place: Place, change: tuple[str, str]) -> None:
    await place.o.domain("palomar.test", catch_all="ana@palomar.test")
    address = (await place.made()).replace(*change)
    assert (await place.back(address)).startswith("550 5.1.1 This return address leads nowhere: it ")
    assert (await place.back(address.replace("@palomar.test", "@nowhere.test"))).startswith("550 5.7.1")


async def test_the_window_ends(place: Place) -> None:
    address = await place.made()
    place.now += 21 * DAY_S
    assert await place.back(address) == f"relay {LUIS}"
    place.now += DAY_S
    assert "it has expired" in await place.back(address)
    place.o.core.time_state = "unset"  # nobody knows what day it is
    assert await place.back(address) == f"relay {LUIS}"


async def test_keys_change_and_old_ones_open_as_long_as_they_are_good_for_anything(place: Place) -> None:
    first = await place.made()
    place.now += 89 * DAY_S
    again = await place.made()
    assert keys(place) == 1
    place.now += DAY_S
    other = await place.made()
    assert keys(place) == 2
    assert await place.back(again) == await place.back(other) == f"relay {LUIS}"
    assert "expired" in await place.back(first)
    place.now += 90 * DAY_S
    await place.made()
    assert keys(place) == 2  # the first one went
    place.now -= 400 * DAY_S  # a clock that was set back makes no keys
    await place.made()
    assert keys(place) == 2
    assert await place.out(LUIS, via="") is None


async def test_no_key_changes_while_the_clock_is_unset(place: Place) -> None:
    await place.made()
    place.now += 1000 * DAY_S
    place.o.core.time_state = "unset"
    await place.made()
    assert keys(place) == 1


def keys(place: Place) -> int:
    (count,) = place.o.store.peek(lambda db: db.execute("SELECT count(*) FROM srs_key").fetchone())
    return int(count)


async def test_a_key_that_became_known_is_changed_by_hand(place: Place) -> None:
    address = await place.made()
    assert await rotate(place.o.core) == 1
    assert await place.back(address) == f"relay {LUIS}"
    other = await place.made()
    assert await rotate(place.o.core, forget=True) == 0
    assert keys(place) == 1
    for one in (address, other):
        assert "it was not made here" in await place.back(one)
    assert await place.back(await place.made()) == f"relay {LUIS}"


async def test_a_restart_knows_the_keys(place: Place) -> None:
    address = await place.made()
    fresh = Rewriting(place.o.core)
    assert str(fresh._original(Address.parse(address))) == LUIS


async def test_a_sender_that_would_be_too_long_is_kept(place: Place) -> None:
    address = await place.made(LONG)
    assert len(Address.parse(address).local) <= MAX_LOCAL
    assert await place.back(address) == f"relay {LONG}"
    assert await place.back(address.lower()) == f"relay {LONG}"
    place.now += 20 * DAY_S
    later = await place.made(LONG)  # notes that it was used again
    place.now += 20 * DAY_S
    assert "expired" in await place.back(address)
    assert await place.back(later) == f"relay {LONG}"
    place.now += 40 * DAY_S
    await place.made("x" * 60 + "@other.example.test")
    assert place.o.store.peek(lambda db: db.execute("SELECT count(*) FROM srs_sender").fetchone()) == (1,)


async def test_another_forwarder_s_address_is_wrapped(place: Place) -> None:
    theirs = "SRS0=abcd=AB=first.test=someone@second.test"
    address = await place.made(theirs)
    assert address.startswith("SRS1=")
    assert await place.back(address) == f"relay {theirs}"


async def test_a_domain_of_its_own(place: Place) -> None:
    place.configure(domain="Bounce.Palomar.test")
    address = await place.made()
    assert address.endswith("@bounce.palomar.test")
    assert await place.back(address) == f"relay {LUIS}"
    assert (await place.back("ana@bounce.palomar.test")).startswith("550 5.7.1")
    known = [one.address for one in await place.o.core.dispatch.known_recipients()]
    assert "srs0@bounce.palomar.test" in known


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ({"domain": "no domain"}, "[srs.domain] 'no domain' is no domain name"),
        ({"exclude": ["x y"]}, "[srs.exclude] 'x y' is neither an address nor a domain"),
        ({"max_age_days": 0}, "[srs.max_age_days] must be within 1..365 days, not 0."),
        ({"rotate_days": 0}, "[srs.rotate_days] must be within"),
        ({"hash_length": 3}, "[srs.hash_length] must be within 4..20, not 3."),
    ],
)
def test_settings_that_cannot_be(toml: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        settings_from(Document({"srs": toml}, Path("palomar.toml"), {}), [Section("srs", SrsConfig)])
