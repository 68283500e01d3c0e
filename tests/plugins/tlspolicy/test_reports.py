"""Reports: counted, kept over a restart, sent once when the day is over; those of others read and shown."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from appliance import dailycounts
from appliance.config import CoreConfig, Settings
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins import tlspolicy
from plugins.mda.config import MdaConfig
from plugins.tlspolicy import memory, tally
from plugins.tlspolicy.config import TlspolicyConfig
from plugins.tlspolicy.memory import Memory
from plugins.tlspolicy.protocol_sts import Policy, parse_policy, record_id
from plugins.tlspolicy.protocol_tlsrpt import MAX_PACKED, AppliedPolicy, Failure, TlsrptError, report_uris
from plugins.tlspolicy.received import report_in
from plugins.tlspolicy.reporter import compose
from plugins.tlspolicy.tally import Tallies
from tests.appliance.office import Office, office
from tests.plugins.tlspolicy.test_protocol_tlsrpt import report
from tests.plugins.tlspolicy.world import NOW, REPORTS, ZONE, World, host, world

GOOD = host()
DAY_S = 86_400


async def next_day(place: World) -> None:
    """Past midnight (UTC), and past the hours over which reports are spread."""
    place.time = (place.time // DAY_S + 1) * DAY_S + 5 * 3600


async def test_a_day_is_reported_by_mail_once_even_over_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + REPORTS, report_address="tls@me.test", organization="Our Office") as place:
        await place.serve(GOOD.context)
        await place.send()
        await place.policies.turn()
        await place.start()
        await place.send()
        await place.policies.turn()
        assert place.intake.submitted == []  # the day is not over
        day = int(place.time // DAY_S) * DAY_S
        await next_day(place)
        await place.start()
        for _ in range(2):
            await place.policies.turn()
        [(message, sender, [recipient], envelope)] = place.intake.submitted
        assert (str(sender), str(recipient.address)) == ("tls@me.test", "tls@reports.test")
        assert envelope.tls_optional  # a report on broken TLS gets through broken TLS
        assert message.get(b"tls-report-domain") == b"b.test"
        assert message.get(b"tls-report-submitter") == b"me.test"
        assert message.get(b"tls-required") == b"No"
        part = message.structure.parts[1]
        assert (part.type, part.subtype) == ("application", "tlsrpt+gzip")
        assert part.disposition == ("attachment", (("filename", f"me.test!b.test!{day}!{day + DAY_S - 1}.json.gz"),))
        read = report_in(message)
        assert read is not None
        assert read.organization == "Our Office"
        assert [(one.type, one.domain, one.successes, one.failures) for one in read.policies] == [
            ("no-policy-found", "b.test", 2, 0)
        ]
        assert f"Report-ID: <{read.report_id}>" in message.header.decode().replace("\r\n", "")
        await place.start()
        await place.policies.turn()
        assert len(place.intake.submitted) == 1


class Signer:
    """Signs what people of ours send, as `spam.dkim` does."""

    @hookimpl
    async def message_received(self, session: Session, envelope: Envelope, message: Message) -> Message | None:
        assert session.role == "local"
        assert str(envelope.sender) == "tls@me.test"
        return message.prepend(b"DKIM-Signature: v=1; d=me.test\r\n")


async def test_a_report_is_signed_by_whoever_signs_our_mail(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + REPORTS, report_address="tls@me.test") as place:
        await place.serve(GOOD.context)
        place.plugins.append(("signer", Signer()))
        await place.send()
        await next_day(place)
        await place.policies.turn()
        [(message, *_)] = place.intake.submitted
        assert message.get(b"dkim-signature") == b"v=1; d=me.test"
        assert report_in(message) is not None


async def test_a_report_goes_by_https_and_again_when_it_was_not_taken(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        await place.serve(GOOD.context)
        https = await place.serve_policy()
        https.policy("", status="503 Later")
        with (tmp_path / "zone").open("a") as zone:
            zone.write(f'_smtp._tls.b.test. TXT "v=TLSRPTv1; rua=https://mta-sts.b.test:{place.https_port}/v1"\n')
        place.zone = type(place.zone)(tmp_path / "zone")
        await place.send()
        await next_day(place)
        await place.policies.turn()
        https.policy("", status="201 Thanks")
        for _ in range(2):
            await place.policies.turn()
        assert len(https.requests) == 2
        head, _, body = https.requests[1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1 HTTP/1.1\r\n")
        assert b"Content-Type: application/tlsrpt+gzip" in head
        assert json.loads(gzip.decompress(body))["policies"][0]["summary"]["total-successful-session-count"] == 1


async def test_what_cannot_be_sent_is_given_up_after_days(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE) as place:
        await place.serve(GOOD.context)
        with (tmp_path / "zone").open("a") as zone:
            zone.write('_smtp._tls.b.test. TXT "v=TLSRPTv1; rua=https://nowhere.test/"\n')
        place.zone = type(place.zone)(tmp_path / "zone")
        await place.send()
        for days in range(1, 6):
            await next_day(place)
            await place.policies.turn()
            assert bool(place.policies.tallies.due()) == (days <= dailycounts.KEEP_DAYS)


async def test_nobody_is_counted_who_does_not_ask_for_it(tmp_path: Path) -> None:
    for folder, zone, settings in (("a", ZONE, {}), ("b", ZONE + REPORTS, {"reports": False})):
        (tmp_path / folder).mkdir()
        async with world(tmp_path / folder, zone, **settings) as place:
            await place.serve(GOOD.context)
            await place.send()
            assert place.counted() == {}


def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dailycounts, "MAX_DOMAINS", 3)
    tallies = Tallies(cast(Any, None), now=lambda: NOW)
    for number in range(10):
        tallies.success(f"d{number}.test", AppliedPolicy())
    for number in range(200):
        tallies.failure("d0.test", AppliedPolicy("sts", str(number)), Failure("validation-failure"))
        tallies.failure("d1.test", AppliedPolicy(), Failure("validation-failure", receiving_ip=str(number)))
    days = {domain: list(one.counted.values()) for (_, domain), one in Tallies.due(_tomorrow(tallies))}
    assert len(days) == 3
    assert len(days["d0.test"]) == tally.MAX_POLICIES
    [counted] = days["d1.test"]
    assert len(counted.failures) <= tally.MAX_KINDS + 1
    assert sum(counted.failures.values()) == 200  # the numbers stay right


def _tomorrow(tallies: Tallies) -> Tallies:
    tallies._now = lambda: NOW + DAY_S
    return tallies


def test_memory_is_bounded_and_spares_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_DOMAINS", 3)
    monkeypatch.setattr(memory, "MAX_REFUSED", 2)
    clock = [NOW]
    seen = Memory(days=lambda: 30, now=lambda: clock[0])
    for number in range(5):
        seen.note(f"d{number}.test", "encrypted")
        seen.refuse(f"d{number}.test", "worse than before")
    assert sorted(seen.all()) == ["d2.test", "d3.test", "d4.test"]
    assert len(seen.refused) == 2
    assert seen.changes() is not None
    clock[0] += 3600
    seen.note("d4.test", "encrypted")
    seen.note("d4.test", "plain")
    assert seen.changes() is None  # a date is worth a write once a day
    clock[0] += DAY_S
    seen.note("d4.test", "encrypted")
    assert seen.changes() is not None
    seen.note("d4.test", "authenticated")
    clock[0] += 2 * DAY_S
    seen.note("d4.test", "encrypted")  # a connection that was let through for other reasons lowers nothing
    assert seen.level("d4.test") == "authenticated"
    seen.lower("d4.test", "encrypted")
    assert (seen.level("d4.test"), seen.level("d0.test")) == ("encrypted", "plain")


# ── reports of others ─────────────────────────────────────────────────────────────────────────────────────────────


def mail(data: bytes, to: str = "ana@palomar.test") -> Message:
    return compose(
        Address.parse("noreply@reports.test"),
        Address.parse(to),
        domain="palomar.test",
        report_id="1@reports.test",
        begin=1_459_468_800,
        packed=data,
        now=NOW,
    )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path, ("tlspolicy", tlspolicy)) as made:
        config = made.core.settings
        made.core.settings = Settings.of(
            config[CoreConfig], config[MdaConfig], TlspolicyConfig(report_address="Ana@palomar.test")
        )
        yield made


async def shown(place: Office, message: Message, to: str = "ana@palomar.test") -> list[dict[str, Any]]:
    """Deliver to INBOX, let the role look, and give what `palomar tls reports` shows then."""
    before = len(await place.inbox(to))
    assert (await place.send(to, message=message)).positive
    await place.core.dispatch.settle()
    assert len(await place.inbox(to)) == before + 1  # whatever it is, it is mail too
    calls = dict(pair for _, pair in place.core.dispatch.gather("calls"))
    rows: list[dict[str, Any]] = await calls["tlspolicy.reports"](place.core)
    return rows


async def test_a_report_about_us_is_read_and_shown_once(place: Office) -> None:
    for _ in range(2):
        rows = await shown(place, mail(gzip.compress(report())))
    assert [(row["organization"], row["policy"], row["successes"], row["failures"]) for row in rows] == [
        ("Office", "sts", 5326, 103),
        ("Office", "no-policy-found", 1, 0),
    ]
    assert rows[0]["details"][0].startswith("100 × certificate-expired at mx1.b.test")


async def test_a_report_for_somebody_else_is_their_mail_alone(place: Office) -> None:
    assert await shown(place, mail(gzip.compress(report())), "luis@palomar.test") == []


@pytest.mark.parametrize(
    "message",
    [
        mail(gzip.compress(bytes(64 << 20))),  # a bomb
        mail(b"no gzip"),
        mail(gzip.compress(b"{}")),
        Message.parse(bytes(mail(gzip.compress(report()))).replace(b"H4sI", b"####")),
        Message.parse(b"From: a@b.test\r\nSubject: about tlsrpt\r\n\r\nhello\r\n"),
        Message.parse(bytes(mail(b"x")).replace(b"multipart/report", b"multipart/x" * 10)),
    ],
)
async def test_broken_reports_are_mail_and_nothing_else(place: Office, message: Message) -> None:
    assert await shown(place, message) == []


def test_what_is_too_long_is_not_even_decoded() -> None:
    with pytest.raises(TlsrptError, match="the report has more than"):
        report_in(mail(bytes(2 * MAX_PACKED)))


async def test_only_so_many_reports_are_kept(place: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.tlspolicy.received.MAX_KEPT", 3)
    for number in range(6):
        rows = await shown(place, mail(gzip.compress(report().replace(b"1@me.test", b"%d@me.test" % number))))
    assert [row["report_id"] for row in rows][::2] == ["5@me.test", "4@me.test", "3@me.test"]


# ── what we publish ourselves ─────────────────────────────────────────────────────────────────────────────────────


def published(place: Office) -> dict[str, str]:
    found = place.core.dispatch.gather("dns_records", core=place.core, domain="palomar.test")
    return {one.name: one.value for _, one in found}


async def test_our_own_records_belong_to_our_own_policy(place: Office) -> None:
    config = place.core.settings[CoreConfig]
    records = {
        one.name: one.value
        for _, one in place.core.dispatch.gather("dns_records", core=place.core, domain="palomar.test")
    }
    policy_id = record_id([records["_mta-sts.palomar.test"].encode()])
    assert policy_id
    assert report_uris([records["_smtp._tls.palomar.test"].encode()]) == ["mailto:Ana@palomar.test"]
    calls = dict(pair for _, pair in place.core.dispatch.gather("calls"))
    text = await calls["tlspolicy.policy"](place.core)
    assert parse_policy(text.encode()) == Policy("testing", ("mail.palomar.test",), 7 * DAY_S)
    place.core.settings = Settings.of(config, TlspolicyConfig(publish="enforce", publish_mx=("*.palomar.test",)))
    records = {
        one.name: one.value
        for _, one in place.core.dispatch.gather("dns_records", core=place.core, domain="palomar.test")
    }
    assert record_id([records["_mta-sts.palomar.test"].encode()]) != policy_id  # others fetch it again


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"report_address": "nobody"}, "report_address is no address"),
        ({"memory_days": -1}, "memory_days"),
        ({"publish_mx": ("*.ok.test", "bad name")}, "publish_mx"),
        ({"fetch_timeout": 500}, "fetch_timeout"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], words: str) -> None:
    [problem] = TlspolicyConfig(**settings).problems()
    assert words in f"{problem.setting} {problem.text}"
