"""Reports that we send: counted, kept, sent once to who agreed, in the form of the RFC's schema."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance.config import CoreConfig
from appliance.mail.message import Message
from appliance.mail.text import part_octets
from plugins.spam.dmarc import tally
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.protocol_received import read_packed, read_report
from plugins.spam.dmarc.protocol_report import Facts, Form, PolicyPublished, Row, Signed, write_report
from plugins.spam.dmarc.tally import Tallies
from tests.plugins.spam.dmarc.bureau import DAY_S, NOW, US, bureau, dkim, spf

SCHEMAS = Path(__file__).parent / "schemas"


def xml_of(message: Message) -> bytes:
    return gzip.decompress(part_octets(message.structure.parts[1], message.text))


def learnt_by(before: Path, folder: Path) -> Path:
    """A folder with nothing but what another appliance has learnt."""
    folder.mkdir()
    for file in before.glob("soft.db*"):
        shutil.copy(file, folder)
    return folder


async def test_a_day_is_reported_once_even_over_a_restart(tmp_path: Path) -> None:
    async with bureau(learnt_by(tmp_path, tmp_path / "a")) as place:
        assert await place.comes("ana@a.com", spf("a.com"), dkim("mail.a.com"), peer_ip="::ffff:192.0.2.9") == 250
        assert await place.comes("eve@a.com", spf("evil.test"), dkim("a.com", "fail")) == 550
        assert await place.comes("x@quiet.com") == 550  # which asks for no report
        assert await place.turn(0) == []  # the day is not over
        await place.reports.flush()
    async with bureau(learnt_by(tmp_path / "a", tmp_path / "b")) as place:
        assert await place.comes("eve@a.com", spf("evil.test"), dkim("a.com", "fail")) == 550
        assert await place.comes("eve@a.com", spf("evil.test"), dkim("a.com", "fail")) == 550  # tried again: the same
        sent = await place.turn()
        assert sorted(to for to, _ in sent) == ["Second@sub.a.com", "r@a.com"]
        message = sent[0][1]
        day = int(NOW // DAY_S) * DAY_S
        part = message.structure.parts[1]
        assert (part.type, part.subtype) == ("application", "gzip")
        assert part.disposition == ("attachment", (("filename", f"palomar.test!a.com!{day}!{day + DAY_S - 1}.xml.gz"),))
        assert message.get(b"dkim-signature") == b"v=1; d=palomar.test"
        subject = (message.get(b"subject") or b"").replace(b"\r\n", b"")
        assert subject == b"Report Domain: a.com Submitter: palomar.test Report-ID: <a.com.%d@mail.palomar.test>" % day
        report = read_report(xml_of(message))
        assert (report.organization, report.domain, report.begin) == ("Palomar & Sons", "a.com", day)
        assert [(one.source_ip, one.count, one.disposition, one.dkim, one.spf) for one in report.rows] == [
            ("192.0.2.9", 1, "none", "pass", "pass"),
            ("192.0.2.7", 2, "reject", "fail", "fail"),
        ]
        assert report.rows[0].results == "dkim=pass mail.a.com (sel); spf=pass a.com"
        assert report.rows[1].results == "dkim=fail a.com (sel); spf=pass evil.test"
        assert await place.turn() == []
        await place.reports.flush()
    async with bureau(learnt_by(tmp_path / "b", tmp_path / "c")) as place:
        assert await place.calls["dmarc.pending"](place.core) == []


async def test_reports_go_elsewhere_only_by_consent(tmp_path: Path) -> None:
    async with bureau(tmp_path) as place:
        await place.comes("x@out.com")
        assert [to for to, _ in await place.turn()] == ["r@agreed.net", "other@moved.net"]


async def test_what_cannot_be_verified_waits_and_is_given_up(tmp_path: Path) -> None:
    async with bureau(tmp_path) as place:
        await place.comes("x@away.com")
        for day in range(1, 6):
            assert await place.turn() == []
            assert bool(await place.calls["dmarc.pending"](place.core)) == (day <= 3)


async def test_a_report_keeps_to_the_size_that_is_taken(tmp_path: Path) -> None:
    async with bureau(tmp_path) as place:
        await place.comes("x@tiny.com")
        assert await place.turn() == []
        assert await place.calls["dmarc.pending"](place.core) == []


@pytest.mark.parametrize(
    ("settings", "subject", "counted"),
    [
        ({}, "hello", 1),
        ({"send_reports": False}, "hello", 0),
        ({"report_address": ""}, "hello", 0),
        ({}, "Report Domain: palomar.test", 0),
    ],
)
async def test_nothing_is_counted_that_nobody_is_told(
    tmp_path: Path, settings: dict[str, Any], subject: str, counted: int
) -> None:
    async with bureau(tmp_path, **settings) as place:
        await place.comes(to=US, subject=subject)
        assert len(await place.calls["dmarc.pending"](place.core)) == counted


async def test_without_the_time_nothing_is_counted_and_nothing_sent(tmp_path: Path) -> None:
    async with bureau(tmp_path) as place:
        await place.comes("ana@a.com", spf("a.com"))
        place.core.time_state = "unset"
        await place.comes("eve@a.com")
        assert await place.turn() == []
        place.core.time_state = "synced"
        [(_, one), (_, other)] = await place.turn(0)
        assert xml_of(one) == xml_of(other)
        assert len(read_report(xml_of(one)).rows) == 1


async def test_what_will_be_sent_is_shown(tmp_path: Path) -> None:
    async with bureau(tmp_path) as place:
        await place.comes("ana@a.com", spf("a.com"))
        await place.comes("eve@a.com")
        [row] = await place.calls["dmarc.pending"](place.core)
        assert (row["domain"], row["messages"], row["passed"]) == ("a.com", 2, 1)
        assert row["addresses"] == ["r@a.com", "Second@Sub.a.com"]
        text = await place.calls["dmarc.report"](place.core, domain="A.com")
        assert len(read_report(text.encode()).rows) == 2


@pytest.mark.parametrize(
    ("zone", "settings", "disposition", "reason"),
    [
        ("p=reject; pct=0", {}, "quarantine", "sampled_out: the domain asks that of 0 % only"),
        ("p=reject; t=y", {}, "none", "other: the domain only tries its policy out (t=y)"),
        ("p=reject", {"on_reject": "junk"}, "quarantine", "local_policy"),
        ("p=quarantine", {"on_quarantine": "score"}, "none", "local_policy"),
        ("p=quarantine", {}, "quarantine", ""),
        ("p=none", {}, "none", ""),
    ],
)
async def test_why_less_was_done_than_asked_for(
    tmp_path: Path, zone: str, settings: dict[str, Any], disposition: str, reason: str
) -> None:
    record = f'_dmarc.b.com. TXT "v=DMARC1; {zone}; rua=mailto:r@b.com"'
    async with bureau(tmp_path, record, **settings) as place:
        await place.comes("eve@b.com")
        [(_, message)] = await place.turn()
        [row] = read_report(xml_of(message)).rows
        assert (row.disposition, row.reasons) == (disposition, reason)


def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_ROWS", 10)
    tallies = Tallies(now=lambda: NOW)
    published = PolicyPublished("a.com", "none", "none")
    for number in range(50):
        row = Row(f"192.0.2.{number}", "none", False, False, "a.com")
        for _ in range(2):
            tallies.note(published, row, b"%d" % number)
    [(_, one)] = tallies.all()
    assert (len(one.rows), one.more) == (10, 40)
    again = tally.Tally()
    tally.merge(again, tally.pack(one))
    assert again == one
    tally.merge(again, b"of another release")
    assert again == one


# ── the RFC's own schemas ─────────────────────────────────────────────────────────────────────────────────────────

ROWS = {
    Row("192.0.2.1", "none", True, False, "mail.a.com", "a.com", signed=(Signed("a.com", "s", "pass"),)): 7,
    Row("2001:db8::1", "reject", False, False, "a.com", "", spf_scope="helo", spf_domain="mx.b.net"): 1,
    Row("192.0.2.3", "none", False, False, "a.com", "b.net", "policy_test_mode", "a < b & c\x00"): 1,
    Row("192.0.2.4", "quarantine", False, True, "a.com", "b.net", "sampled_out", spf_result="softfail"): 1 << 40,
    Row("192.0.2.5", "none", False, False, "a.com", "b", "trusted_forwarder", signed=(Signed("b", "c", "policy"),)): 1,
    Row("192.0.2.6", "none", False, False, "a.com", "b.net", "local_policy"): 1,
}


@pytest.mark.programs("xmllint")
@pytest.mark.parametrize(("form", "schema"), [("rfc7489", "rfc7489.xsd"), ("rfc9990", "rfc9990.xsd")])
def test_a_report_is_as_the_schema_wants_it(tmp_path: Path, form: Form, schema: str) -> None:
    facts = Facts("Palomar & Sons <sic>", US, "1@mail.palomar.test", 1, 2, "12 messages more")
    published = PolicyPublished("a.com", "reject", "none", True, False, 50, True, "0:d:s", ("r@a.com",))
    written = write_report(facts, published, ROWS, form)
    (tmp_path / "report.xml").write_bytes(written)
    done = subprocess.run(
        ["xmllint", "--noout", "--schema", str(SCHEMAS / schema), str(tmp_path / "report.xml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = read_packed(gzip.compress(written))
    assert [one.count for one in again.rows] == list(ROWS.values())


@pytest.mark.parametrize(("address", "words"), [("nobody", "report_address is no address"), ("a@b.test", "")])
def test_the_address_is_checked(address: str, words: str) -> None:
    problems = [f"{one.setting} {one.text}" for one in DmarcConfig(report_address=address).problems()]
    assert [words in one for one in problems] == ([True] if words else [])


async def test_records_that_belong_to_reports(tmp_path: Path) -> None:
    async with bureau(tmp_path) as place:
        config = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test", "www.palomar.test", "other.com"))
        place.core.settings = type(place.core.settings).of(config, place.core.settings[DmarcConfig])
        found = {
            (one.name, one.value)
            for _, one in place.core.dispatch.gather("dns_records", core=place.core, domain="palomar.test")
        }
        assert found == {
            ("_dmarc.palomar.test", f"v=DMARC1; p=none; rua=mailto:{US}; ruf=mailto:{US}"),
            ("other.com._report._dmarc.palomar.test", "v=DMARC1"),
        }
