"""DomainKeys against signatures of Mail::DKIM, which is not ours; and what must not pass."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.dkim.protocol_signature import KeyRecord
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.domainkeys import mechanism
from plugins.spam.domainkeys.config import DomainKeysConfig
from plugins.spam.domainkeys.mechanism import DomainKeys
from plugins.spam.domainkeys.protocol_domainkeys import FIELD, read_signature, signed_octets
from tests.plugins.spam.stranger import core_with, session

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
CASES = {case["name"]: case["message"].encode() for case in VECTORS["cases"]}
PLAIN, SENDER, FREE = CASES["nofws, some, text"], CASES["simple, sender, text"], CASES["nofws, all, text"]


def zone(record: str = VECTORS["key"]) -> str:
    strings = " ".join(f'"{record[start : start + 200]}"' for start in range(0, len(record), 200))
    return f"dk._domainkey.office.test. TXT {strings}\nloop._domainkey.office.test. CNAME loop._domainkey.office.test."


async def found(tmp_path: Path, message: bytes, record: str = VECTORS["key"]) -> Finding | None:
    one = DomainKeys(core_with(tmp_path, zone(record), DomainKeysConfig(fail_score=1)))
    assert await one.authenticate_message(session(), Message.parse(message), "policy") is None
    answer = await one.authenticate_message(session(), Message.parse(message), "mechanisms")
    return answer[0] if answer else None


@pytest.mark.parametrize("name", CASES)
async def test_what_another_implementation_signed(tmp_path: Path, name: str) -> None:
    finding = await found(tmp_path, CASES[name])
    assert finding is not None
    assert (finding.result, finding.score, finding.text) == ("pass", 0, "DomainKeys signature of office.test: pass")
    assert finding.header == "domainkeys=pass header.d=office.test"
    assert finding.domain == ""  # DMARC builds on DKIM alone


@pytest.mark.parametrize("name", [name for name in CASES if "empty" not in name])
async def test_another_text_or_header_is_no_pass(tmp_path: Path, name: str) -> None:
    message = CASES[name]
    for changed in (
        message + b"more\r\n",
        message.replace(b"ana@", b"eve@"),
        message.replace(b"From: ", b"From: Eve <eve@office.test>, "),
    ):
        finding = await found(tmp_path, changed)
        assert finding is not None
        assert (finding.result, finding.score) == ("fail", 1)


@pytest.mark.parametrize(
    ("message", "result", "words"),
    [
        (PLAIN.replace(b"How  are", b"\tHow are"), "pass", ""),
        (PLAIN.replace(b"\r\n\r\nHow", b"\r\nX-Two: third\r\n\r\nHow"), "pass", ""),
        (PLAIN + b"\r\n \r\n\r\n", "pass", ""),
        (b"Received: by me\r\n" + FREE, "pass", ""),
        (FREE.replace(b"To: luis", b"X-List: a\r\nTo: luis"), "fail", "the message was changed"),
        (SENDER.replace(b"Sender: robot@mail.office.test", b"Sender: x@evil.test"), "permerror", "sender is not of"),
        (PLAIN.replace(b"d=office.test", b"d=evil.test"), "permerror", "from is not of the domain"),
        (PLAIN.replace(b"h=From:To", b"h=To:To"), "permerror", "from is not signed"),
        (PLAIN.replace(b"s=dk", b"s=loop"), "temperror", ""),
        (PLAIN.replace(b"s=dk", b"s=no"), "permerror", "there is no key"),
        (PLAIN.replace(b"a=rsa-sha1", b"a=rsa-sha256"), "permerror", "a= is unknown"),
        (PLAIN.replace(b"c=nofws", b"c=relaxed"), "permerror", "c= is unknown"),
        (PLAIN.replace(b"q=dns", b"q=http"), "permerror", "q= is unknown"),
        (PLAIN.replace(b" q=dns;", b""), "pass", ""),
        (PLAIN.replace(b"From: Ana  <ana@office.test>\r\n", b""), "permerror", "no sending address"),
        (b"DomainKey-Signature: moo\r\n\r\n", "permerror", "no tag list"),
    ],
)  # fmt: skip
async def test_what_else_may_stand_there(tmp_path: Path, message: bytes, result: str, words: str) -> None:
    finding = await found(tmp_path, message)
    assert finding is not None
    assert (finding.result, words in finding.text) == (result, True)


@pytest.mark.parametrize(
    ("record", "result"),
    [("t=y; ", "pass"), ("g=; ", "pass"), ("g=*; ", "pass"), ("g=ana; ", "pass"), ("g=a*a; ", "pass"),
     ("g=luis; ", "permerror"), ("g=b*; ", "permerror")],
)  # fmt: skip
async def test_what_the_key_is_for(tmp_path: Path, record: str, result: str) -> None:
    finding = await found(tmp_path, PLAIN, record + VECTORS["key"])
    assert finding is not None
    assert finding.result == result
    assert not KeyRecord("rsa", b"", granularity="ab*ba").grants("aba")


async def test_a_domain_that_only_tries_it_out(tmp_path: Path) -> None:
    finding = await found(tmp_path, PLAIN + b"more\r\n", "t=y; " + VECTORS["key"])
    assert finding is not None
    assert (finding.result, finding.score) == ("neutral", 0)


async def test_a_text_that_is_too_large_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanism, "MAX_TEXT", 10)
    finding = await found(tmp_path, PLAIN)
    assert finding is not None
    assert (finding.result, finding.header) == ("neutral", "domainkeys=neutral header.d=office.test")


async def test_mail_without_a_signature_costs_nothing(tmp_path: Path) -> None:
    assert await found(tmp_path, b"From: ana@office.test\r\n\r\nhello\r\n") is None


@settings(max_examples=200)
@given(st.binary(max_size=120), st.lists(st.sampled_from(["from", "to", "x-two", "subject"]), max_size=6))
def test_any_signature_and_header_are_read_or_refused(value: bytes, signed: list[str]) -> None:
    with contextlib.suppress(TagError):
        assert read_signature(value).form in {"simple", "nofws"}
    message = Message.parse(FREE)
    text = b"c=nofws; d=office.test; s=dk; b=AAAA; h=" + ":".join(signed).encode()
    signature = read_signature(text)
    fields = [one for one in message.fields() if one.name != FIELD]
    octets = signed_octets(message, fields, signature)
    assert octets.count(b"\r\nX-Two:") <= 2
    assert octets.endswith(b"Fine.\r\n")
