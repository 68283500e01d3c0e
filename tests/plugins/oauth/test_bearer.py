"""The messages of OAUTHBEARER and XOAUTH2."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.wire.sasl.client import BearerClient
from appliance.wire.sasl.errors import SaslError
from plugins.oauth.protocol_bearer import Name, Presented, failure, parse

# RFC 7628 section 4.1
EXAMPLE = (
    "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
    "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
)


@pytest.mark.parametrize(
    ("name", "message", "token", "authzid"),
    [
        (
            "OAUTHBEARER",
            EXAMPLE,
            b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
            "user@example.com",
        ),
        ("OAUTHBEARER", "y,,\x01auth=bearer t\x01\x01", b"t", ""),
        ("OAUTHBEARER", "n,a=a=3Db=2Cc,\x01AUTH=Bearer  t\x01\x01", b"t", "a=b,c"),
        ("OAUTHBEARER", "n,,\x01\x01", b"", ""),  # section 3.1: who makes tokens?
        ("OAUTHBEARER", "n,a=ñ,\x01auth=\x01\x01", b"", "ñ"),
        ("XOAUTH2", "user=ana@palomar.test\x01auth=Bearer t.t.t\x01\x01", b"t.t.t", "ana@palomar.test"),
    ],
)
def test_messages(name: Name, message: str, token: bytes, authzid: str) -> None:
    assert parse(name, message.encode()) == Presented(token, authzid)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OAUTHBEARER", b""),
        ("OAUTHBEARER", b"n,,"),
        ("OAUTHBEARER", b"n,\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,a=,\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,a=x=41,\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,a=\xff,\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,a=a\0b,\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"p=tls-exporter,,\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer t\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer t\x01\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Basic t\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer a b\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01au th=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer t\0\x01\x01"),
        ("OAUTHBEARER", b"n,," + b"\x01a=b" * 30 + b"\x01\x01"),
        ("OAUTHBEARER", b"n,a=" + b"a" * 2000 + b",\x01auth=Bearer t\x01\x01"),
        ("XOAUTH2", b"n,,\x01auth=Bearer t\x01\x01"),
        ("XOAUTH2", b"user=\x01auth=Bearer t\x01\x01"),
        ("XOAUTH2", b"user=ana\x01auth=Bearer t"),
        ("XOAUTH2", b"user=a\0b\x01auth=Bearer t\x01\x01"),
    ],
)
def test_what_is_no_message(name: Name, message: bytes) -> None:
    with pytest.raises(SaslError):
        parse(name, message)


def test_why_a_token_is_none() -> None:
    told = json.loads(failure("OAUTHBEARER", "insufficient_scope", "mail", "https://x.example/c"))
    assert told == {"status": "insufficient_scope", "scope": "mail", "openid-configuration": "https://x.example/c"}
    assert json.loads(failure("OAUTHBEARER", "invalid_token", "", "")) == {"status": "invalid_token"}
    assert json.loads(failure("XOAUTH2", "invalid_token", "", "")) == {"status": "401", "schemes": "bearer"}


_names = st.sampled_from(("OAUTHBEARER", "XOAUTH2"))


@given(_names, st.binary(max_size=100))
@settings(max_examples=300)
def test_whatever_comes_it_is_a_message_or_none(name: Name, data: bytes) -> None:
    prefix = b"n,,\x01" if name == "OAUTHBEARER" else b"user=a\x01"
    for message in (data, prefix + data, prefix + b"auth=" + data + b"\x01\x01"):
        try:
            read = parse(name, message)
        except SaslError:
            continue
        assert b"\x01" not in read.token
        assert "\0" not in read.authzid


@given(_names, st.from_regex(r"[A-Za-z0-9._~+/-]{1,60}={0,2}", fullmatch=True), st.text(min_size=1, max_size=30))
@settings(max_examples=100)
def test_our_own_client_is_understood(name: Name, token: str, user: str) -> None:
    if any(char in user for char in "\0\x01") or not user.isprintable():
        user = "ana@palomar.test"
    first = BearerClient(name, user, token).step(None)
    assert first is not None
    assert parse(name, first) == Presented(token.encode(), user)
