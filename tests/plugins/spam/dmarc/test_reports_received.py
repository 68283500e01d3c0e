"""Reports of others: read in all their packings within caps, kept, summed up; whatever is none is mail alone."""

from __future__ import annotations

import base64
import gzip
import io
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import NotFoundError
from appliance.mail.message import Message
from plugins.spam.dmarc import protocol_received, received
from plugins.spam.dmarc.protocol_failure import ReceivedFailure, read_failure
from plugins.spam.dmarc.protocol_received import MAX_ROWS, ReportError, read_packed, read_report
from plugins.spam.dmarc.received import report_in
from tests.plugins.spam.dmarc.bureau import NOW, US, Bureau, bureau

BEGIN = int(NOW // 86_400 - 2) * 86_400
RECORD = """<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated>
<disposition>{then}</disposition><dkim>{dkim}</dkim><spf>fail</spf><reason><type>forwarded</type>
<comment>a list</comment></reason></policy_evaluated></row><identifiers><header_from>Palomar.test</header_from>
<envelope_from>bounce.list.org</envelope_from></identifiers><auth_results><dkim><domain>palomar.test</domain>
<selector>s1</selector><result>{dkim}</result></dkim><spf><domain>list.org</domain><result>pass</result></spf>
</auth_results></record>"""
ONE = RECORD.format(ip="192.0.2.1", count=5, then="none", dkim="pass")
TWO = RECORD.format(ip="198.51.100.2", count=3, then="reject", dkim="fail")


def xml(
    *records: str, organization: str = "Big Mail", number: int = 1, top: str = "<feedback>", begin: int = BEGIN
) -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8" ?>
{top}<version>1.0</version><report_metadata><org_name>{organization}</org_name><email>r@big.test</email>
<report_id>{number}</report_id><date_range><begin>{begin}</begin><end>{begin + 86_399}</end></date_range>
</report_metadata>
<policy_published><domain>Palomar.test</domain><adkim>r</adkim><p>none</p><sp>none</sp><pct>100</pct></policy_published>
{"".join(records)}</feedback>""".encode()


def zipped(*files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(files):
            archive.writestr(f"{number}.xml", data)
    return out.getvalue()


def mail(data: bytes, kind: str = "application/gzip", name: str = "big.test!palomar.test!1!2.xml.gz") -> Message:
    """As Google writes it: nothing but the file; the others put it into a multipart."""
    text = base64.encodebytes(data).replace(b"\n", b"\r\n")
    header = (
        f"From: r@big.test\r\nTo: {US}\r\nSubject: Report Domain: palomar.test\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: {kind}; name="{name}"\r\nContent-Disposition: attachment; filename="{name}"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return Message.parse(header.encode() + text)


@pytest.mark.parametrize(
    "message",
    [
        mail(gzip.compress(xml(ONE, TWO))),
        mail(zipped(xml(ONE, TWO)), "application/zip", "r.zip"),
        mail(zipped(xml(ONE, TWO)), "application/octet-stream", "r.ZIP"),
        mail(xml(ONE, TWO), "text/xml", "r.xml"),
        mail(gzip.compress(xml(ONE, TWO, top='<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">'))),
        mail(gzip.compress(xml(ONE, TWO, top='<d:feedback xmlns:d="u">').replace(b"</feedback>", b"</d:feedback>"))),
        Message.parse(
            b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n'
            + bytes(mail(gzip.compress(xml(ONE, TWO)))) + b"\r\n--b--\r\n"
        ),
    ],
)  # fmt: skip
def test_reports_come_in_many_packings(message: Message) -> None:
    report = report_in(message)
    assert isinstance(report, protocol_received.ReceivedReport)
    assert (report.organization, report.domain, report.policy, report.begin) == (
        "Big Mail",
        "palomar.test",
        "none",
        BEGIN,
    )
    one, two = report.rows
    assert (one.source_ip, one.count, one.dkim, one.spf, one.header_from) == (
        "192.0.2.1", 5, "pass", "fail", "palomar.test",
    )  # fmt: skip
    assert (one.reasons, one.results) == ("forwarded: a list", "dkim=pass palomar.test (s1); spf=pass list.org")
    assert (two.count, two.disposition, two.envelope_from) == (3, "reject", "bounce.list.org")


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE feedback [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>"""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(bytes(64 << 20)), "unpacks to more"),
        (zipped(bytes(64 << 20)), "unpacks to more"),
        (zipped(xml(ONE), xml(TWO)), "no archive of one plain file"),
        (gzip.compress(xml(ONE))[:-9], "cut short"),
        (b"\x1f\x8bno gzip", "cannot be unpacked"),
        (b"PK\x03\x04no zip", "cannot be unpacked"),
        (b"\x1f\x8b" + bytes(2 << 20), "compressed report has more than"),
        (bytes(9 << 20), "has more than"),
        (LAUGHS + xml("&b;")[39:], "document type"),
        (b'<!DOCTYPE f SYSTEM "file:///etc/passwd"><feedback/>', "document type"),
        (xml("&b;"), "no XML"),
        (xml(ONE)[:-4], "no XML"),
        (b"", "no XML"),
        (b'<?xml version="1.0" encoding="no-such-thing"?><feedback/>', "encoding"),
        (b"<html>hello</html>", "no DMARC report"),
        (xml("<x>" * 30 + "</x>" * 30), "nested deeper"),
        (xml("<record/>" * (MAX_ROWS + 1)), "more than 10000 records"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip and ZIP hold the time
)
def test_broken_and_hostile_reports(data: bytes, words: str) -> None:
    began = time.process_time()
    with pytest.raises(ReportError, match=words):
        read_packed(data)
    assert time.process_time() - began < 2


def test_large_values_and_many_elements_cost_little() -> None:
    long = ONE.replace("a list", "x" * 1_000_000).replace("192.0.2.1", "192.0.2.1\x7f  &#x85;[31m")
    report = read_report(xml(long, "<record>" + "<row/>" * 100_000 + "</record>", "<record/>" * 9000))
    row = report.rows[0]
    assert len(row.reasons) <= 250
    assert row.source_ip.isprintable()
    assert len(report.rows) == 9002


@settings(max_examples=200)
@given(st.integers(0, len(xml(ONE)) - 1), st.binary(max_size=8))
def test_any_change_is_read_or_refused(at: int, octets: bytes) -> None:
    data = xml(ONE)
    for form in (data[:at] + octets + data[at + len(octets) :], gzip.compress(data)[: at // 3] + octets):
        try:
            report = read_packed(form)
        except ReportError:
            continue
        assert all(row.count >= 0 for row in report.rows)


async def take(place: Bureau, message: Message, to: str = US) -> None:
    before = len(await place.office.inbox("ana@palomar.test"))
    assert (await place.office.send(to, message=message)).positive
    await place.core.dispatch.settle()
    assert len(await place.office.inbox("ana@palomar.test")) == before + 1  # whatever it is, it is mail too


async def rows(place: Bureau, by: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await place.calls["dmarc.received"](place.core, by=by, **more)
    return found


async def test_reports_are_summed_up(tmp_path: Path) -> None:
    async with bureau(tmp_path) as place:
        for _ in range(2):  # the same report twice counts once
            await take(place, mail(gzip.compress(xml(ONE, TWO))))
        await take(place, mail(gzip.compress(xml(ONE, organization="Small Mail", begin=BEGIN + 86_400))))
        await take(place, mail(gzip.compress(xml(ONE, number=2, begin=BEGIN - 90 * 86_400))))
        await take(place, mail(gzip.compress(xml(ONE, number=3))), "ana@palomar.test")  # of nobody's interest
        await take(place, mail(b"broken"))
        assert [(row["domain"], row["messages"], row["passed"]) for row in await rows(place, "domain")] == [
            ("palomar.test", 13, 10)
        ]
        assert [
            (row["source_ip"], row["messages"], row["passed"], row["dkim"], row["spf"], row["rejected"])
            for row in await rows(place, "source")
        ] == [("192.0.2.1", 10, 10, 10, 0, 0), ("198.51.100.2", 3, 0, 0, 0, 3)]
        assert [(row["day"], row["messages"]) for row in await rows(place, "day")] == [(BEGIN + 86_400, 5), (BEGIN, 8)]
        assert [row["organization"] for row in await rows(place, "report", days=365)] == [
            "Small Mail", "Big Mail", "Big Mail",
        ]  # fmt: skip
        kept = await place.core.store.soft.read(lambda db: db.execute("SELECT count(*) FROM dmarc_row").fetchone()[0])
        assert kept == 4
        assert await rows(place, "source", domain="other.test") == []
        assert len(await rows(place, "source", domain="PALOMAR.test")) == 2
        with pytest.raises(NotFoundError, match="by source, day, domain, report, not by moon"):
            await rows(place, "moon")


async def test_only_so_much_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bureau(tmp_path) as place:
        monkeypatch.setattr(received, "MAX_KEPT", 3)
        for number in range(6):
            await take(place, mail(gzip.compress(xml(ONE, organization=f"o{number}"))))
        assert sorted(row["organization"] for row in await rows(place, "report")) == ["o3", "o4", "o5"]
        monkeypatch.setattr(received, "MAX_ROWS_KEPT", 3)
        await take(place, mail(gzip.compress(xml(ONE, TWO, organization="o6"))))
        assert sorted(row["organization"] for row in await rows(place, "report")) == ["o5", "o6"]


# ── failure reports ───────────────────────────────────────────────────────────────────────────────────────────────

FAILURE = b"""From: reports@big.test\r
To: dmarc@palomar.test\r
Subject: FW: You have won\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r
\r
--b\r
Content-Type: text/plain\r
\r
This is an authentication failure report.\r
--b\r
Content-Type: message/feedback-report\r
\r
Feedback-Type: auth-failure\r
User-Agent: Big/1.0 (of big.test)\r
Version: 1\r
Original-Mail-From: <eve@evil.test>\r
Arrival-Date: Thu, 8 Mar 2012 14:00:00 -0800\r
Source-IP: 192.0.2.1\r
Reported-Domain: Palomar.test\r
Auth-Failure: dmarc\r
Delivery-Result: reject\r
Incidents: 3\r
--b\r
Content-Type: text/rfc822-headers\r
\r
From: =?utf-8?q?Bo=C3=9F?= <boss@palomar.test>\r
Subject: You have won\r
--b--\r
"""


def test_a_failure_report_is_read() -> None:
    assert read_failure(Message.parse(FAILURE)) == ReceivedFailure(
        "Big/1.0", "palomar.test", "192.0.2.1", "dmarc", "reject", "eve@evil.test", "Boß <boss@palomar.test>",
        "You have won", 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        FAILURE.replace(b"auth-failure", b"abuse"),
        FAILURE.replace(b"message/feedback-report", b"text/plain"),
        FAILURE.replace(b"multipart/report", b"multipart/mixed"),
        b"From: a@b.test\r\n\r\n",
    ],
)
def test_what_is_no_failure_report(text: bytes) -> None:
    assert report_in(Message.parse(text)) is None


@settings(max_examples=200)
@given(st.integers(0, len(FAILURE) - 1), st.binary(max_size=8))
def test_any_failure_report_is_read_or_none(at: int, octets: bytes) -> None:
    found = read_failure(Message.parse(FAILURE[:at] + octets + FAILURE[at + len(octets) :]))
    assert found is None or (found.incidents >= 0 and (found.author + found.subject + found.reporter).isprintable())


async def test_failure_reports_are_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "MAX_KEPT", 2)
    async with bureau(tmp_path) as place:
        for number in range(3):
            await take(place, Message.parse(FAILURE.replace(b"192.0.2.1", b"192.0.2.%d" % number)))
        found = await place.calls["dmarc.failures"](place.core)
        assert [(row["source_ip"], row["failure"], row["subject"]) for row in found] == [
            ("192.0.2.2", "dmarc", "You have won"), ("192.0.2.1", "dmarc", "You have won"),
        ]  # fmt: skip
