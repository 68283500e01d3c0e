"""Mail to domains with policies, and to those who would take the protection away: each with its safe outcome."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from appliance.certificate import public_key_info
from tests.appliance.smtpclient.fake_server import FULL, always
from tests.plugins.tlspolicy.world import (
    POLICY,
    REPORTS,
    STARTTLS,
    STRANGER,
    STS,
    ZONE,
    Host,
    host,
    world,
)

GOOD = host()
SELF_MADE = host("whatever.invalid", ca=STRANGER)
OTHER = host("other.test")
DAY = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
EXPIRED = host(not_before=DAY, not_after=DAY + datetime.timedelta(days=1))


def tlsa(
    port: int, one: Host, usage: int, selector: int, matching: int, *, place: int = 0, base: str = "mx.b.test"
) -> str:
    der = one.chain[place]
    data = der if selector == 0 else public_key_info(der)
    data = [data, hashlib.sha256(data).digest(), hashlib.sha512(data).digest()][matching]
    return f"_{port}._tcp.{base}. TLSA {usage} {selector} {matching} {data.hex()}\n"


# ── MTA-STS ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_policy_is_fetched_once_and_enforced(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS + REPORTS) as place:
        server, https = await place.serve(GOOD.context), await place.serve_policy()
        for _ in range(2):
            outcome = await place.send()
            assert outcome.status == "delivered"
            assert outcome.security.endswith("no DANE: mx.b.test has no TLSA records; MTA-STS: enforce")
            assert outcome.security.startswith("TLSv1.3, authenticated: ")
        assert [message.tls for message in server.messages] == [True, True]
        assert len(https.requests) == 1
        assert https.requests[0].startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.b.test")
        assert place.counted() == {"sts good": 2}


@pytest.mark.parametrize(
    ("tls", "words", "result"),
    [
        (None, "does not offer it", "starttls-not-supported"),  # STARTTLS stripped on the wire
        (OTHER, "Hostname mismatch", "certificate-host-mismatch"),
        (SELF_MADE, "self-signed|unable to get", "certificate-not-trusted"),
        (EXPIRED, "expired", "certificate-expired"),
    ],
)
async def test_what_a_policy_forbids_waits(tmp_path: Path, tls: Host | None, words: str, result: str) -> None:
    async with world(tmp_path, ZONE + STS + REPORTS) as place:
        server = await place.serve(tls.context if tls else None)
        https = await place.serve_policy()
        outcome = await place.send()
        assert (outcome.status, outcome.unreachable, outcome.reply.code) == ("deferred", True, 451)
        assert any(word in outcome.reply.text for word in words.split("|"))
        assert "MTA-STS: enforce" in outcome.reply.text  # who wants it so
        assert server.messages == []
        assert place.counted() == {f"sts {result}": 1}
        # In testing the same mail is delivered all the same, and counted all the same.
        https.policy(POLICY.replace("enforce", "testing"))
        place.policies.sts.forget("b.test")
        assert (await place.send()).status == "delivered"
        assert place.counted() == {f"sts {result}": 2}


async def test_an_exchanger_that_the_policy_does_not_name_gets_nothing(tmp_path: Path) -> None:
    zone = ZONE.replace("10 mx.b.test", "10 mx.evil.test") + "mx.evil.test. A 127.0.0.1\n"
    async with world(tmp_path, zone + STS + REPORTS) as place:
        server = await place.serve(host("mx.evil.test").context)
        https = await place.serve_policy()
        outcome = await place.send()
        assert str(outcome.reply) == "451 4.7.5 the MTA-STS policy of b.test does not name the exchanger mx.evil.test"
        assert server.sessions == []
        https.policy(POLICY.replace("enforce", "testing"))
        place.policies.sts.forget("b.test")
        assert (await place.send()).status == "delivered"
        assert place.counted()["sts validation-failure"] == 2


async def test_tls_that_never_finishes_is_no_way_around_a_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.connection.HANDSHAKE_S", 0.2)
    async with world(tmp_path, ZONE + STS) as place:
        server = await place.serve(GOOD.context, script=always(STARTTLS="220 go on"))  # and then it waits for commands
        await place.serve_policy()
        outcome = await place.send()
        assert outcome.status == "deferred"
        assert outcome.reply.enhanced == "4.7.5"
        assert server.messages == []


async def test_a_policy_stays_in_force_when_it_can_no_longer_be_seen(tmp_path: Path) -> None:
    """Whoever holds back the TXT record or the policy host gains nothing before its end, not by a restart either."""
    async with world(tmp_path, ZONE + STS) as place:
        await place.serve_policy()
        await place.serve(None)
        assert (await place.send()).status == "deferred"
        place.zone.bogus.add(("_mta-sts.b.test", "TXT"))
        await place.start()
        assert (await place.send()).status == "deferred"
        place.time += 604_801
        await place.start()
        assert (await place.send()).status == "delivered"


# ── DANE ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "usage", "at"),
    [(GOOD, 3, 0), (SELF_MADE, 3, 0), (EXPIRED, 3, 0), (GOOD, 2, 1)],  # usage 3 asks for neither names nor dates
)
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
async def test_dane_proves_the_host(
    tmp_path: Path, one: Host, usage: int, at: int, selector: int, matching: int
) -> None:
    async with world(tmp_path) as place:
        server = await place.serve(one.context)
        with (tmp_path / "zone").open("a") as zone:
            zone.write(tlsa(server.port, one, usage, selector, matching, place=at))
        place.zone = type(place.zone)(tmp_path / "zone")
        outcome = await place.send()
        assert outcome.status == "delivered", outcome.reply
        assert outcome.security == "TLSv1.3, authenticated: DANE: a TLSA record of mx.b.test"


async def sent(tmp_path: Path, tls: Host | None, records: Any, zone: str = ZONE, **signed: Any) -> Any:
    """One message to an exchanger with these records; the outcome, and whether the server has the message."""
    async with world(tmp_path, zone + REPORTS) as place:
        server = await place.serve(tls.context if tls else None)
        with (tmp_path / "zone").open("a") as file:
            file.write(records(server.port))
        place.zone = type(place.zone)(tmp_path / "zone")
        place.zone.unsigned = signed.get("unsigned", set())
        place.zone.validates = signed.get("validates", True)
        place.zone.bogus = {(name.replace("PORT", str(server.port)), kind) for name, kind in signed.get("bogus", ())}
        outcome = await place.send()
        assert bool(server.messages) == (outcome.status == "delivered")
        return outcome, place.counted()


@pytest.mark.parametrize(
    ("tls", "record", "words", "result"),
    [
        (GOOD, (SELF_MADE, 3, 1, 1), "not the one that the TLSA records name", "validation-failure"),
        (None, (GOOD, 3, 1, 1), "does not offer it", "starttls-not-supported"),
        (OTHER, (OTHER, 2, 0, 1, 1), "names other.test and not mx.b.test", "certificate-host-mismatch"),
        (EXPIRED, (EXPIRED, 2, 0, 1, 1), "not valid at this time", "certificate-expired"),
        (SELF_MADE, (GOOD, 2, 1, 1, 1), "no way leads to an issuer", "certificate-not-trusted"),
    ],
)  # fmt: skip
async def test_what_dane_forbids_waits(tmp_path: Path, tls: Host, record: Any, words: str, result: str) -> None:
    one, usage, selector, matching, *at = record

    def records(port: int) -> str:
        return tlsa(port, one, usage, selector, matching, place=at[0] if at else 0)

    outcome, counted = await sent(tmp_path, tls, records)
    assert (outcome.status, outcome.unreachable) == ("deferred", True)
    assert words in outcome.reply.text
    assert "DANE" in outcome.reply.text
    assert counted == {f"tlsa {result}": 1}


@pytest.mark.parametrize(
    ("signed", "why"),
    [
        ({"validates": False}, "no DANE: no validating resolver is believed here"),
        ({"unsigned": {"b.test"}}, "no DANE: the domain's exchangers are not signed"),
        ({"unsigned": {"mx.b.test"}}, "no DANE: the addresses of mx.b.test are not signed"),
    ],
)
async def test_records_that_nobody_proves_are_not_used_and_the_trace_says_why(
    tmp_path: Path, signed: Any, why: str
) -> None:
    outcome, _ = await sent(tmp_path, GOOD, lambda port: tlsa(port, SELF_MADE, 3, 1, 1), **signed)
    assert outcome.status == "delivered"
    assert outcome.security == f"TLSv1.3, encrypted: {why}; no MTA-STS"


@pytest.mark.parametrize("tls", [SELF_MADE, None])
@pytest.mark.parametrize(
    "garbage",
    ["3 1 1 00", "0 0 1 " + "ab" * 32, "1 1 1 " + "ab" * 32, "3 0 0 deadbeef", "3 7 1 " + "ab" * 32, "9 9 9 00"],
)
async def test_unusable_records_still_ask_for_encryption(tmp_path: Path, tls: Host | None, garbage: str) -> None:
    outcome, counted = await sent(tmp_path, tls, lambda port: f"_{port}._tcp.mx.b.test. TLSA {garbage}\n")
    assert outcome.status == ("delivered" if tls else "deferred")
    assert counted["tlsa tlsa-invalid"] == 1


async def test_records_that_cannot_be_asked_for_hold_the_mail_back(tmp_path: Path) -> None:
    outcome, counted = await sent(tmp_path, GOOD, lambda _: "", bogus=[("_PORT._tcp.mx.b.test", "TLSA")])
    assert (outcome.status, outcome.reply.enhanced) == ("deferred", "4.7.5")
    assert "SERVFAIL" in outcome.reply.text
    assert counted == {"tlsa dnssec-invalid": 1}


async def test_records_of_an_unsigned_name_are_no_records(tmp_path: Path) -> None:
    """The host is signed, the names below it are not: whoever answers for those proves nothing."""

    async with world(tmp_path) as place:
        server = await place.serve(GOOD.context)
        with (tmp_path / "zone").open("a") as zone:
            zone.write(tlsa(server.port, SELF_MADE, 3, 1, 1))
        place.zone = type(place.zone)(tmp_path / "zone")
        place.zone.unsigned = {f"_{server.port}._tcp.mx.b.test"}
        assert "no DANE: mx.b.test has no TLSA records" in (await place.send()).security


async def test_an_alias_leads_to_the_records_of_the_name_behind_it(tmp_path: Path) -> None:
    zone = ZONE.replace("mx.b.test. A 127.0.0.1", "mx.b.test. CNAME real.b.test.\nreal.b.test. A 127.0.0.1")
    outcome, _ = await sent(tmp_path, SELF_MADE, lambda port: tlsa(port, SELF_MADE, 3, 1, 1, base="real.b.test"), zone)
    assert outcome.security == "TLSv1.3, authenticated: DANE: a TLSA record of real.b.test"


async def test_the_strongest_hash_counts(tmp_path: Path) -> None:
    """RFC 7671 section 9: a weak hash beside a strong one is no second chance."""
    outcome, _ = await sent(tmp_path, GOOD, lambda port: tlsa(port, GOOD, 3, 1, 1) + tlsa(port, SELF_MADE, 3, 1, 2))
    assert outcome.status == "deferred"


async def test_dane_comes_before_mta_sts(tmp_path: Path) -> None:
    """RFC 8461 section 2: a good certificate is no way around records that it does not fit, and the other way round."""
    for fitting, status in ((SELF_MADE, "deferred"), (GOOD, "delivered")):
        outcome, _ = await sent(tmp_path, GOOD, lambda port, one=fitting: tlsa(port, one, 3, 1, 1), ZONE + STS)
        assert outcome.status == status


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_domain_that_spoke_tls_gets_nothing_in_clear(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + REPORTS, memory_days=10) as place:
        server = await place.serve(SELF_MADE.context)
        assert (await place.send()).status == "delivered"
        server.extensions = FULL  # from here on somebody strips STARTTLS
        await place.start()
        outcome = await place.send()
        assert outcome.status == "deferred"
        assert outcome.reply.text == (
            "TLS is required, but the host does not offer it"
            " (no DANE: mx.b.test has no TLSA records; no MTA-STS; the domain has spoken TLS before)"
        )
        [line] = [words for _, words in place.core.dispatch.gather("status", core=place.core) if words[2:]]
        assert line[1].startswith("mail for b.test waits: mx.b.test[127.0.0.1]:")
        assert place.counted()["no-policy-found starttls-not-supported"] == 1
        assert await dict(place.policies.calls())["tlspolicy.forget"](place.core, domain="B.test") is True
        assert (await place.send()).status == "delivered"


async def test_what_is_remembered_ends(tmp_path: Path) -> None:
    async with world(tmp_path, memory_days=10) as place:
        server = await place.serve(SELF_MADE.context)
        await place.send()
        server.extensions = FULL
        place.time += 9 * 86_400
        await place.start()
        assert (await place.send()).status == "deferred"
        place.time += 2 * 86_400
        assert (await place.send()).status == "delivered"


async def test_a_broken_handshake_is_no_way_around_the_memory(tmp_path: Path) -> None:
    async with world(tmp_path) as place:
        server = await place.serve(SELF_MADE.context)
        await place.send()
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # has no certificate
        assert (await place.send()).status == "deferred"
        assert len(server.messages) == 1


async def test_a_domain_that_proved_its_name_must_go_on_so(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        server, https = await place.serve(GOOD.context), await place.serve_policy()
        assert (await place.send()).status == "delivered"
        place.policies.sts.forget("b.test")
        https.answer = b""  # the policy cannot be had any more, and nobody knows it
        assert (await place.send()).status == "delivered"
        server.tls = SELF_MADE.context
        assert (await place.send()).status == "deferred"
        place.policies.sts.forget("b.test")
        https.policy("version: STSv1\nmode: none\nmax_age: 86400\n")  # taken back as RFC 8461 section 8.3 wants it
        assert (await place.send()).status == "delivered"


async def test_nothing_is_remembered_of_what_a_signed_zone_says_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as place:
        server = await place.serve(SELF_MADE.context)
        zone = tmp_path / "zone"
        without = zone.read_text()
        zone.write_text(without + tlsa(server.port, SELF_MADE, 3, 1, 1))
        place.zone = type(place.zone)(zone)
        assert (await place.send()).security.endswith("DANE: a TLSA record of mx.b.test")
        zone.write_text(without)
        place.zone = type(place.zone)(zone)
        await place.start()
        assert (await place.send()).status == "delivered"
        assert place.policies.memory.level("b.test") == "encrypted"


# ── wishes of the sender ──────────────────────────────────────────────────────────────────────────────────────────

REQUIRETLS = (*STARTTLS, "REQUIRETLS")


async def test_requiretls_goes_by_a_proven_way_and_is_passed_on(tmp_path: Path) -> None:
    async with world(tmp_path) as place:
        server = await place.serve(GOOD.context, extensions=REQUIRETLS)
        outcome = await place.send(require_tls=True)
        assert outcome.status == "delivered", outcome.reply
        assert server.messages[0].mail.split()[-1] == "REQUIRETLS"


@pytest.mark.parametrize(
    ("tls", "extensions", "unsigned", "enhanced"),
    [
        (GOOD, STARTTLS, set(), "5.7.30"),  # the next host would not see to it
        (None, (*FULL, "REQUIRETLS"), set(), "5.7.4"),
        (SELF_MADE, REQUIRETLS, set(), "5.7.5"),
        (GOOD, REQUIRETLS, {"b.test"}, "5.7.30"),  # nobody proves that the host is the domain's
    ],
)
async def test_requiretls_gives_back_what_has_no_secured_way(
    tmp_path: Path, tls: Host | None, extensions: Any, unsigned: set[str], enhanced: str
) -> None:
    async with world(tmp_path) as place:
        server = await place.serve(tls.context if tls else None, extensions=extensions)
        place.zone.unsigned = unsigned
        outcome = await place.send(require_tls=True)
        assert (outcome.status, outcome.reply.code, outcome.reply.enhanced) == ("failed", 550, enhanced)
        assert server.messages == []


async def test_requiretls_waits_for_a_host_that_is_away(tmp_path: Path) -> None:
    async with world(tmp_path) as place:
        assert (await place.send(require_tls=True)).status == "deferred"


async def test_a_waiving_sender_is_not_held_to_the_receivers_policy(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        await place.serve(SELF_MADE.context)
        https = await place.serve_policy()
        assert (await place.send(tls_optional=True)).status == "delivered"
        assert https.requests == []
        assert (await place.send()).status == "deferred"


async def test_mta_sts_proves_the_exchangers_for_requiretls(tmp_path: Path) -> None:
    async with world(tmp_path, ZONE + STS) as place:
        await place.serve(GOOD.context, extensions=REQUIRETLS)
        await place.serve_policy()
        place.zone.validates = False
        outcome = await place.send(require_tls=True)
        assert outcome.status == "delivered", outcome.reply


# ── cost ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_domain_without_policy_costs_nothing_after_the_first_look(tmp_path: Path) -> None:
    async with world(tmp_path) as place:
        await place.serve(SELF_MADE.context)
        await place.send()
        asked = len(place.zone.asked)
        for _ in range(5):
            await place.send()
        assert len(place.zone.asked) == asked
        assert place.policies.tallies.changes() is None
        await place.policies.write()
        assert place.policies.memory.changes() is None
