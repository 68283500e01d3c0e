"""Signatures: ours verify, whatever is changed does not, and what is hostile costs little."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from plugins.spam.dkim.protocol_signature import read_key, read_signature
from plugins.spam.dkim.protocol_tags import TagError, parse_tags
from tests.plugins.spam.dkim.signed_mail import NOW, TEXT, Keys, key, signed, verdicts

KINDS = ["rsa", "ed25519"]
SMALL = (
    b"p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL51Pj7vGqWWk3w5YOwvAB4mGFRm4M3rJ9nvOA2V1u1QFh7c/KDLKeDKuDXg1pZyR3/8CbRr"
    b"9uS9N8uwPPpCBp0CAwEAAQ=="
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_sign_verifies(kind: str) -> None:
    (verdict,) = verdicts(signed(key(kind)), Keys(key(kind)))
    assert (verdict.result, verdict.domain, verdict.algorithm) == ("pass", "office.test", f"{kind}-sha256")
    assert max(len(line) for line in signed(key(kind)).header.split(b"\r\n")) < 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"How  are", b"Who  are", "the text was changed"),
        (b"Ana <ana", b"Eve <ana", "the header was changed"),
        (b"Subject: Hello", b"Subject: Bye", "the header was changed"),
        (b"From: Ana", b"From: eve@evil.test\r\nFrom: Ana", "the header was changed"),
        (b"\r\nTo:", b"\r\nReply-To: eve@evil.test\r\nTo:", "the header was changed"),
        (b"d=office.test", b"d=other.test", "there is no key"),
    ],
)
def test_what_is_changed_does_not(kind: str, old: bytes, new: bytes, why: str) -> None:
    message = Message.parse(bytes(signed(key(kind))).replace(old, new, 1))
    (verdict,) = verdicts(message, Keys(key(kind)))
    assert verdict.result in {"fail", "permerror"}
    assert why in verdict.why


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"How  are you? \r\n\r\n\r\n", b"How are\tyou?\r\n"),
        (b"Subject: Hello\r\n there", b"SUBJECT:  Hello  there "),
        (b"From: Ana", b"X-Added: on the way\r\nFrom: Ana"),
    ],
)
def test_what_relays_do_to_mail_breaks_nothing(old: bytes, new: bytes) -> None:
    message = Message.parse(bytes(signed(key("rsa"))).replace(old, new, 1))
    assert [one.result for one in verdicts(message, Keys(key("rsa")))] == ["pass"]


@pytest.mark.parametrize(
    ("record", "result", "why"),
    [
        (b"v=DKIM1; p=", "permerror", "revoked"),
        (b"v=DKIM2; p=AAAA", "permerror", "no DKIM key"),
        (b"k=rsa; p=AAAA", "permerror", "no rsa key"),
        (b"v=DKIM1; k=ed25519; p=AAAA", "permerror", "no ed25519 key"),
        (b"v=DKIM1; k=dsa; p=AAAA", "permerror", "unknown"),
        (b"v=DKIM1; s=web; p=AAAA", "permerror", "not for mail"),
        (b"p=" + b"A" * 20_000, "permerror", "octets"),
        (b"\xff\x00", "permerror", "no tag list"),
        (RuntimeError("timed out"), "temperror", "timed out"),
        (SMALL, "permerror", "512 bits"),
    ],
)  # fmt: skip
def test_keys_that_are_none(record: bytes | Exception, result: str, why: str) -> None:
    keys = Keys(key("rsa"))
    keys.records["srsa._domainkey.office.test"] = record
    (verdict,) = verdicts(signed(key("rsa")), keys)
    assert verdict.result == result
    assert why in verdict.why


def test_flags_of_a_key() -> None:
    keys = Keys(key("rsa"))
    record = keys.records["srsa._domainkey.office.test"]
    assert isinstance(record, bytes)
    keys.records["srsa._domainkey.office.test"] = record + b"; t=y:s; h=sha256"
    (verdict,) = verdicts(signed(key("rsa")), keys)
    assert (verdict.result, verdict.testing) == ("pass", True)
    keys.records["srsa._domainkey.office.test"] = record + b"; h=sha1"
    assert [one.result for one in verdicts(signed(key("rsa")), keys)] == ["permerror"]


@pytest.mark.parametrize(
    ("now", "result"), [(NOW, "pass"), (NOW - 3 * 86400, "fail"), (None, "pass"), (NOW + 10 * 365 * 86400, "pass")]
)
def test_the_time_of_signing(now: float | None, result: str) -> None:
    assert [one.result for one in verdicts(signed(key("rsa")), Keys(key("rsa")), now=now)] == [result]


def test_an_expired_signature_fails_only_while_the_time_is_known() -> None:
    value = b"v=1; a=rsa-sha256; d=office.test; s=srsa; h=from; bh=AAAA; b=AAAA; t=1; x=100"
    message = Message.parse(b"DKIM-Signature: " + value + b"\r\n" + TEXT)
    assert verdicts(message, Keys(key("rsa")))[0].why == "the signature has expired"
    assert verdicts(message, Keys(key("rsa")), now=None)[0].why == "the text was changed"


def test_a_signature_over_part_of_the_text_proves_nothing() -> None:
    value = b"v=1; a=rsa-sha256; d=office.test; s=srsa; h=from; bh=AAAA; b=AAAA; l="
    for length, result in ((b"3", "policy"), (b"9" * 70, "fail")):
        message = Message.parse(b"DKIM-Signature: " + value + length + b"\r\n" + TEXT)
        assert verdicts(message, Keys(key("rsa")))[0].result == result


def test_a_thousand_signatures_cost_as_much_as_eight() -> None:
    message = Message.parse(b"DKIM-Signature: v=1\r\n" * 1000 + TEXT)
    assert len(verdicts(message, Keys())) == 8


@pytest.mark.parametrize(
    "value",
    [
        b"", b"v=1", b"v=2; a=rsa-sha256; d=a.test; s=s; h=from; b=AAAA; bh=AAAA",
        b"v=1; a=rsa-sha1; d=a.test; s=s; h=from; b=AAAA; bh=AAAA",
        b"v=1; a=x; d=a.test; s=s; h=from; b=AAAA; bh=AAAA",
        b"v=1; a=rsa-sha256; d=a b; s=s; h=from; b=AAAA; bh=AAAA",
        b"v=1; a=rsa-sha256; d=a.test; s=-; h=from; b=AAAA; bh=AAAA",
        b"v=1; a=rsa-sha256; d=a.test; s=s; h=to; b=AAAA; bh=AAAA",
        b"v=1; a=rsa-sha256; d=a.test; s=s; h=from; b=A; bh=AAAA",
        b"v=1; a=rsa-sha256; d=a.test; s=s; h=from; b=AAAA; bh=AAAA; i=x@b.test",
        b"v=1; a=rsa-sha256; d=a.test; s=s; h=from; b=AAAA; bh=AAAA; l=-1",
        b"v=1; a=rsa-sha256; d=a.test; s=s; h=from; b=AAAA; bh=AAAA; t=5; x=4",
        b"v=1; v=1; a=rsa-sha256; d=a.test; s=s; h=from; b=AAAA; bh=AAAA",
        b"v=1; a=rsa-sha256; d=a.test; s=s; h=from; b=AAAA; bh=AAAA; c=odd", b"x=" + b"1" * 20_000, b"a=1;" * 100,
        b"v=1; a=rsa-sha256; d=a.test; s=s; b=AAAA; bh=AAAA; h=" + b"from:" * 600 + b"to",
    ],
)  # fmt: skip
def test_signatures_that_are_none(value: bytes) -> None:
    with pytest.raises(TagError):
        read_signature(value)


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    for read in (read_signature, read_key, lambda value: parse_tags(value.decode("latin-1"))):
        with contextlib.suppress(TagError):
            assert read(octets) is not None
