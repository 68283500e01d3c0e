"""The keys of our domains: made, used once DNS has them, replaced, forgotten; and mail signed by them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.config import CoreConfig, Settings
from appliance.mail.address import Address
from appliance.mail.authors import read_authors
from appliance.mail.dsn import Notice, compose
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from plugins.spam.dkim.config import DkimConfig
from plugins.spam.dkim.keyring import DAY_S, Keyring
from plugins.spam.dkim.mechanism import Dkim
from plugins.spam.dkim.schema import MIGRATIONS
from plugins.spam.dkim.verification import verify
from tests.appliance.office import Office, office
from tests.plugins.spam.dkim.signed_mail import NOW, TEXT, Keys
from tests.plugins.spam.stranger import envelope, session

OFFICE = "office.test"


class Scene:
    """A keyring of one domain, with DNS that the test writes."""

    def __init__(self, made: Office, config: DkimConfig) -> None:
        self.core = made.core
        self.core.settings = Settings.of(CoreConfig(domains=(OFFICE,)), config)
        self.dns = Keys()
        self.core.resolver = self.dns  # type: ignore[assignment]
        self.at = NOW
        self.core.now = lambda: self.at
        self.keyring = Keyring(self.core)
        self.dkim = Dkim(self.core, self.keyring)

    async def turn(self, *, days: float = 0) -> None:
        """What the service does once, so many days later."""
        self.at += days * DAY_S
        await self.keyring._keep_up()

    def publish(self) -> None:
        for record in self.dkim.dns_records(self.core, OFFICE):
            self.dns.records[record.name] = record.value.encode()

    @property
    def selectors(self) -> list[str]:
        return [one.selector for one in self.keyring.signers(OFFICE)]


@contextlib.asynccontextmanager
async def scene(folder: Path, config: DkimConfig | None = None) -> AsyncIterator[Scene]:
    async with office(folder, migrations=MIGRATIONS) as made:
        yield Scene(made, config or DkimConfig())


async def test_keys_are_made_and_sign_once_they_are_in_dns(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        await one.turn()
        assert [entry.stored.selector for entry in one.keyring.entries(OFFICE)] == ["p20260101", "p20260101e"]
        assert one.selectors == []
        assert one.dkim.status(one.core)[0][2] == "warning"
        one.publish()
        await one.turn()
        assert one.selectors == ["p20260101", "p20260101e"]
        assert one.dkim.status(one.core) == []


async def test_a_new_key_takes_over_when_dns_has_it(tmp_path: Path) -> None:
    async with scene(tmp_path, DkimConfig(kinds=("rsa",), rotate_days=100, overlap_days=10)) as one:
        await one.turn()
        one.publish()
        await one.turn()
        first = one.selectors
        await one.turn(days=100)
        assert len(one.keyring.entries(OFFICE)) == 2
        assert one.selectors == first  # nobody has published the second
        one.publish()
        await one.turn(days=3)
        assert one.selectors == ["p20260411"] != first
        assert [record.purpose for record in one.dkim.dns_records(one.core, OFFICE)] == [
            "DKIM key in use", "DKIM key, replaced: leave it there until it is not listed any more",
        ]  # fmt: skip
        await one.turn(days=11)
        assert [entry.stored.selector for entry in one.keyring.entries(OFFICE)] == ["p20260411"]


async def test_a_key_that_leaves_dns_signs_no_more_but_a_silent_dns_changes_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        await one.turn()
        one.publish()
        await one.turn()
        there = one.selectors
        kept = dict(one.dns.records)
        one.dns.records = dict.fromkeys(kept, RuntimeError("timed out"))
        await one.turn()
        assert one.selectors == there
        one.dns.records = {}
        await one.turn()
        assert one.selectors == []
        one.dns.records = kept
        await one.turn()
        assert one.selectors == there


async def test_another_key_under_the_same_name_is_not_ours(tmp_path: Path) -> None:
    async with scene(tmp_path, DkimConfig(kinds=("rsa",))) as one:
        await one.turn()
        ours = one.keyring.entries(OFFICE)[0]
        await one.keyring.make(OFFICE)
        theirs = one.keyring.entries(OFFICE)[1]
        assert theirs.stored.selector == "p20260101-2"
        one.dns.records[ours.name] = theirs.record.encode()
        await one.turn()
        assert one.selectors == []


async def test_nothing_is_made_where_nothing_is_to_be_signed(tmp_path: Path) -> None:
    async with scene(tmp_path, DkimConfig(sign=False)) as one:
        await one.turn()
        assert one.keyring.entries() == []
        assert one.dkim.status(one.core) == []


async def test_mail_of_our_people_is_signed_and_verifies(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        await one.turn()
        one.publish()
        await one.turn()
        ana = session(role="submission", account="ana")
        signed = await one.dkim.message_received(ana, Message.parse(TEXT))
        assert signed is not None
        verdicts = await verify(signed, one.dns, now=NOW)
        assert [(verdict.result, verdict.algorithm) for verdict in verdicts] == [
            ("pass", "rsa-sha256"), ("pass", "ed25519-sha256"),
        ]  # fmt: skip
        below = Message.parse(TEXT.replace(b"ana@office.test", b"ana@sub.office.test"))
        assert await one.dkim.message_received(ana, below) is not None


async def test_what_the_appliance_writes_is_signed_for_the_domain_above_its_own_name(tmp_path: Path) -> None:
    bounce = compose(
        Envelope(Address("luis", "elsewhere.test")),
        Message.parse(TEXT),
        [Notice(Recipient(Address("nobody", OFFICE)), "failed", Reply(550, "5.1.1", "No such user"))],
        postmaster=Address("postmaster", f"mail.{OFFICE}"),
        hostname=f"mail.{OFFICE}",
        token="token",
        at=NOW,
        language="es",
    )
    async with scene(tmp_path) as one:
        await one.turn()
        assert await one.dkim.message_written(bounce) is None
        one.publish()
        await one.turn()
        signed = await one.dkim.message_written(bounce)
        assert signed is not None
        assert [(found.result, found.domain) for found in await verify(signed, one.dns, now=NOW)] == [
            ("pass", OFFICE), ("pass", OFFICE),
        ]  # fmt: skip
        strange = Message.parse(TEXT.replace(b"ana@office.test", b"ana@elsewhere.test"))
        assert await one.dkim.message_written(strange) is None


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"role": "mx"}, TEXT),  # a stranger who says that he is Ana
        ({"account": "ana"}, TEXT.replace(b"ana@office.test", b"ana@elsewhere.test")),
        ({"account": "ana"}, TEXT.replace(b"From:", b"From: eve@evil.test\r\nFrom:")),
        ({"account": "ana"}, TEXT.replace(b"ana@office.test", b"ana@office.test, <b@x.test>")),
        ({"account": "ana"}, TEXT.replace(b"From:", b"X-From:")),
    ],
)
async def test_what_is_not_ours_is_not_signed(tmp_path: Path, facts: dict[str, str], text: bytes) -> None:
    async with scene(tmp_path) as one:
        await one.turn()
        one.publish()
        await one.turn()
        assert await one.dkim.message_received(session(**facts), Message.parse(text)) is None


async def test_an_unset_clock_stands_in_no_signature(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        await one.turn()
        one.publish()
        await one.turn()
        one.core.time_state = "unset"
        signed = await one.dkim.message_received(session(account="ana"), Message.parse(TEXT))
        assert signed is not None
        assert b" t=" not in signed.header


async def test_findings_of_a_strangers_mail(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        await one.turn()
        one.publish()
        await one.turn()
        signed = await one.dkim.message_received(session(account="ana"), Message.parse(TEXT))
        assert signed is not None
        found = await one.dkim.authenticate_message(session(), envelope(), signed, "mechanisms", ()) or ()
        assert [(finding.result, finding.domain, finding.score) for finding in found] == [
            ("pass", OFFICE, -0.2), ("pass", OFFICE, 0.0),
        ]  # fmt: skip
        assert found[0].header.startswith("dkim=pass header.d=office.test header.s=p20260101 header.a=rsa-sha256")
        plain = await one.dkim.authenticate_message(session(), envelope(), Message.parse(TEXT), "mechanisms", ())
        assert [finding.header for finding in plain or ()] == ["dkim=none"]
        assert await one.dkim.authenticate_message(session(), envelope(), signed, "policy", ()) is None


async def test_what_the_commands_ask(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        calls = dict(one.dkim.calls())
        made = await calls["dkim.make"](one.core, domain="OFFICE.test")
        assert [key["selector"] for key in made] == ["p20260101", "p20260101e"]
        one.publish()
        assert {key["state"] for key in await calls["dkim.look"](one.core)} == {"DKIM key in use"}
        await calls["dkim.remove"](one.core, domain=OFFICE, selector="p20260101e")
        assert [key["selector"] for key in await calls["dkim.list"](one.core)] == ["p20260101"]


@pytest.mark.parametrize(
    ("field", "domain"),
    [
        (b"From: Ana <ana@Office.test>", "office.test"),
        (b'From: "a@b.test" <ana@office.test>', "office.test"),
        (b"From: ana@m\xc3\xbcnchen.test", "xn--mnchen-3ya.test"),
        (b"From: a@x.test, b@x.test", "x.test"),
        (b"From: a@x.test, b@y.test", ""),
        (b"From: nobody", ""),
        (b"From: a@x.test\r\nFrom: a@x.test", ""),
        (b"From: team: a@x.test;", "x.test"),
        (b"From: a@\xff.test", ""),
    ],
)
def test_the_authors_domain(field: bytes, domain: str) -> None:
    assert read_authors(Message.parse(field + b"\r\n\r\n")).domain == domain
