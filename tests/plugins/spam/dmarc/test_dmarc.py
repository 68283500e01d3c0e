"""Policies found, domains compared, and what the judge is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.mechanism import Dmarc
from plugins.spam.dmarc.protocol_policy import ReportUri, is_record, read_record
from plugins.spam.dmarc.suffixes import organization
from tests.plugins.spam.stranger import core_with, envelope, session

ZONE = """
_dmarc.strict.com. TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
_dmarc.relaxed.com. TXT "v=DMARC1; p=quarantine; sp=none; np=reject; rua=mailto:r@relaxed.com"
there.relaxed.com. A 192.0.2.1
_dmarc.watch.com. TXT "v=DMARC1; p=none"
_dmarc.some.com. TXT "v=DMARC1; p=reject; pct=0"
_dmarc.trial.com. TXT "v=DMARC1; p=reject; t=y"
_dmarc.two.com. TXT "v=DMARC1; p=reject"
_dmarc.two.com. TXT "v=DMARC1; p=none"
_dmarc.other.com. TXT "v=spf1 -all"
_dmarc.broken.com. TXT "v=DMARC1; p=maybe"
_dmarc.loop.com. CNAME _dmarc.loop.com.
"""


async def finding(tmp_path: Path, author: str, *found: Finding, **config: Any) -> Finding:
    dmarc = Dmarc(core_with(tmp_path, ZONE, DmarcConfig(**config)))
    message = Message.parse(f"From: {author}\r\nMessage-ID: <1@a>\r\n\r\n".encode())
    (one,) = await dmarc.authenticate_message(session(), envelope(), message, "policy", found) or ()
    return one


def spf(domain: str, result: str = "pass") -> Finding:
    return Finding("spf", result, domain=domain)


def dkim(domain: str, result: str = "pass") -> Finding:
    return Finding("dkim", result, domain=domain)


@pytest.mark.parametrize(
    ("author", "found", "result", "action"),
    [
        ("a@strict.com", [spf("strict.com")], "pass", None),
        ("a@strict.com", [dkim("strict.com")], "pass", None),
        ("a@strict.com", [dkim("mail.strict.com"), spf("mail.strict.com")], "fail", "refuse"),
        ("a@strict.com", [spf("strict.com", "fail")], "fail", "refuse"),
        ("a@strict.com", [spf("strict.com", "temperror")], "temperror", None),
        ("a@relaxed.com", [dkim("mail.relaxed.com")], "pass", None),
        ("a@mail.relaxed.com", [spf("relaxed.com")], "pass", None),
        ("a@relaxed.com", [dkim("relaxed.com.evil.net")], "fail", "junk"),
        ("a@relaxed.com", [dkim("evilrelaxed.com")], "fail", "junk"),
        ("a@there.relaxed.com", [], "fail", None),  # sp=none
        ("a@gone.relaxed.com", [], "fail", "refuse"),  # np=reject
        ("a@watch.com", [], "fail", None),
        ("a@some.com", [], "fail", "junk"),  # pct=0: the next milder policy
        ("a@trial.com", [], "fail", None),
        ("a@two.com", [], "none", None),
        ("a@other.com", [], "none", None),
        ("a@broken.com", [], "permerror", None),
        ("a@loop.com", [], "temperror", None),
        ("a@nothing.com", [], "none", None),
        ("a@strict.com, b@watch.com", [], "fail", "refuse"),  # of several the one that says most against it
        ("b@watch.com, a@strict.com", [spf("watch.com")], "fail", "refuse"),
        ("b@watch.com, a@strict.com", [spf("watch.com"), dkim("strict.com")], "pass", None),
        ("b@watch.com <a@nothing.com>", [], "fail", None),
        ("nobody", [], "permerror", "refuse"),
    ],
)
async def test_the_author_s_policy(
    tmp_path: Path, author: str, found: list[Finding], result: str, action: str | None
) -> None:
    one = await finding(tmp_path, author, *found)
    assert (one.result, one.action) == (result, action)
    assert one.header.startswith(f"dmarc={result}")


async def test_a_trusted_chain_overrides_a_fail(tmp_path: Path) -> None:
    chain = Finding("arc", "pass", domain="lists.org", evidence="spf=pass; dmarc=pass header.from=strict.com")
    one = await finding(tmp_path, "a@strict.com", chain)
    assert (one.result, one.action, one.score) == ("fail", None, 0.0)
    assert "which we trust" in one.text
    for other in (
        Finding("arc", "pass", evidence=chain.evidence),
        Finding("arc", "fail", domain="lists.org", evidence=chain.evidence),
    ):
        assert (await finding(tmp_path, "a@strict.com", other)).action == "refuse"


@pytest.mark.parametrize(("on_reject", "action"), [("junk", "junk"), ("score", None), ("quarantine", "quarantine")])
async def test_the_administrator_may_be_milder(tmp_path: Path, on_reject: str, action: str | None) -> None:
    one = await finding(tmp_path, "a@strict.com", on_reject=on_reject)
    assert (one.action, one.score) == (action, 4.0)


async def test_mechanisms_are_not_its_phase(tmp_path: Path) -> None:
    dmarc = Dmarc(core_with(tmp_path, ZONE, DmarcConfig()))
    message = Message.parse(b"From: a@strict.com\r\n\r\n")
    assert await dmarc.authenticate_message(session(), envelope(), message, "mechanisms", ()) is None


@pytest.mark.parametrize(
    ("domain", "of"),
    [
        ("mail.example.com", "example.com"), ("a.b.example.co.uk", "example.co.uk"), ("co.uk", "co.uk"), ("com", "com"),
        ("x.github.io", "x.github.io"), ("www.city.kawasaki.jp", "city.kawasaki.jp"),
        ("a.b.xn--55qx5d.cn", "b.xn--55qx5d.cn"),
    ],
)  # fmt: skip
def test_organisational_domains(domain: str, of: str) -> None:
    assert organization(domain) == of


def test_a_newer_list_takes_the_place_of_the_installed_one(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("com\nexample.com\n")
    assert organization("a.b.example.com", tmp_path / "list") == "b.example.com"
    assert organization("a.b.example.com", tmp_path / "gone") == "example.com"


def test_a_record_s_tags() -> None:
    record = read_record(
        b"v=DMARC1;p=none;pct=7;rua=mailto:a@b.test!10m, mailto:c@d.test,https://x;ruf=mailto:f@b.test"
    )
    assert (record.percent, record.reports) == (7, (ReportUri("a@b.test", 10 << 20), ReportUri("c@d.test")))
    assert record.failure_reports == (ReportUri("f@b.test"),)
    assert read_record(b"v=DMARC1; rua=mailto:a@b.test").policy == "none"


@given(st.binary(max_size=200).map(lambda rest: b"v=DMARC1;" + rest))
def test_any_record_is_read_or_refused(text: bytes) -> None:
    assert is_record(text)
    try:
        record = read_record(text)
    except TagError:
        return
    assert 0 <= record.percent <= 100
