"""Records of brands: found for proven mail of domains that enforce DMARC, by domain and selector."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.bimi.config import BimiConfig
from plugins.spam.bimi.mechanism import Bimi
from plugins.spam.bimi.protocol_bimi import Record, enforces, is_record, read_record, read_selector
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dmarc.config import DmarcConfig
from tests.plugins.spam.stranger import core_with

ZONE = """
default._bimi.brand.com. TXT "v=BIMI1; l=https://brand.com/logo.svg; a=https://brand.com/vmc.pem"
summer._bimi.brand.com. TXT "v=BIMI1; l=https://brand.com/summer.svg"
default._bimi.news.brand.com. TXT "v=spf1 -all"
default._bimi.shy.com. TXT "v=BIMI1; l=; a="
default._bimi.plain.com. TXT "v=BIMI1; l=http://plain.com/logo.svg"
default._bimi.two.com. TXT "v=BIMI1; l=https://a.com/"
default._bimi.two.com. TXT "v=BIMI1; l=https://b.com/"
default._bimi.loop.com. CNAME default._bimi.loop.com.
"""
URIS = 'policy.authority-uri="https://brand.com/vmc.pem" policy.indicator-uri="https://brand.com/logo.svg"'
STRICT = "p=reject sp=reject pct=100"
SIGNED = (
    b"DKIM-Signature: v=1; a=rsa-sha256; d=brand.com; s=x; h=from:bimi-selector; bh=AAAA; b=AAAA\r\n"
    b"From: a@brand.com\r\nBIMI-Selector: v=BIMI1; s=summer\r\n\r\n"
)
PROVEN = Finding("dkim", "pass", domain="brand.com")


async def found(
    tmp_path: Path, domain: str, policy: str = STRICT, *more: Finding, result: str = "pass", text: bytes = SIGNED
) -> Finding | None:
    one = Bimi(core_with(tmp_path, ZONE, BimiConfig(), DmarcConfig()))
    dmarc = Finding("dmarc", result, evidence=policy, domain=domain)
    answer = await one.score_message(Message.parse(text), [*more, dmarc])
    return answer[0] if answer else None


@pytest.mark.parametrize(
    ("domain", "header"),
    [
        (
            "brand.com",
            "bimi=pass header.d=brand.com header.selector=default policy.authority=none " + URIS,
        ),
        ("shy.com", "bimi=declined header.d=shy.com header.selector=default"),
        ("plain.com", "bimi=fail header.d=plain.com header.selector=default"),
        ("two.com", "bimi=fail header.d=two.com header.selector=default"),
        ("loop.com", "bimi=temperror header.d=loop.com header.selector=default"),
    ],
)  # fmt: skip
async def test_the_record_of_the_author_s_domain(tmp_path: Path, domain: str, header: str) -> None:
    one = await found(tmp_path, domain)
    assert one is not None
    assert (one.header, one.score, one.action) == (header, 0, None)


async def test_the_organisation_s_record_stands_in(tmp_path: Path) -> None:
    one = await found(tmp_path, "news.brand.com")
    assert one is not None
    assert one.header.startswith("bimi=pass header.d=brand.com ")
    assert one.evidence == "https://brand.com/logo.svg"


@pytest.mark.parametrize(
    ("policy", "result"),
    [
        ("p=none sp=none pct=100", "pass"), ("p=reject sp=none pct=100", "pass"),
        ("p=quarantine sp=reject pct=99", "pass"), ("", "pass"), (STRICT, "fail"), (STRICT, "none"),
    ],
)  # fmt: skip
async def test_without_a_policy_that_keeps_forgers_out_nobody_is_asked(
    tmp_path: Path, policy: str, result: str
) -> None:
    assert await found(tmp_path, "brand.com", policy, result=result) is None
    assert await found(tmp_path, "nothing.com") is None


@pytest.mark.parametrize(
    ("text", "proofs", "selector"),
    [
        (SIGNED, [PROVEN], "summer"),
        (SIGNED, [], "default"),
        (SIGNED, [Finding("dkim", "pass", domain="other.com")], "default"),
        (SIGNED.replace(b":bimi-selector", b""), [PROVEN], "default"),
        (SIGNED.replace(b"BIMI-Selector", b"BIMI-Selector: v=BIMI1; s=x\r\nBIMI-Selector"), [PROVEN], "default"),
        (SIGNED.replace(b"v=1;", b"v=2;"), [PROVEN], "default"),
        (SIGNED.replace(b"s=summer", b"s=../x"), [PROVEN], "default"),
    ],
)
async def test_a_selector_counts_if_it_is_signed(
    tmp_path: Path, text: bytes, proofs: list[Finding], selector: str
) -> None:
    one = await found(tmp_path, "brand.com", STRICT, *proofs, text=text)
    assert one is not None
    assert f" header.selector={selector} " in one.header


def test_which_policies_are_enough() -> None:
    assert enforces("p=quarantine sp=quarantine pct=100")
    assert enforces("p=reject sp=quarantine pct=1")
    assert not enforces("p=quarantine sp=quarantine pct=10")


@pytest.mark.parametrize("rest", [b"a=https://x/", b"l=https://a b", b'l=https://a"b', b"l=" + b"x" * 5000])
def test_records_that_break_the_rules(rest: bytes) -> None:
    with pytest.raises(TagError):
        read_record(b"v=BIMI1; " + rest)


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_any_record_and_selector_are_read_or_refused(rest: bytes) -> None:
    assert read_selector(b"s=" + rest).isascii()
    assert is_record(b"v=BIMI1;" + rest)
    try:
        record = read_record(b"v=BIMI1;" + rest)
    except TagError:
        return
    assert record == Record("") or record.location.startswith("https://") or record.authority.startswith("https://")
