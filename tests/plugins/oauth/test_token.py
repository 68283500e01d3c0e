"""Tokens: what is read, what is not, and what their claims must say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.oauth.protocol_token import MAX_TOKEN, Rules, TokenError, checked_name, parse
from tests.plugins.oauth.issuer import ANA, AUDIENCE, ISSUER, NOW, b64

RULES = Rules(ISSUER, (AUDIENCE, "other"), ("mail",), "email", 60)
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "email": ANA, "scope": "mail read"}


HEAD = b64(b'{"alg":"RS256","kid":"1"}')
OTHER_BITS = chr(ord(HEAD[-1]) + 1)  # that stand for nothing
DEEPEST = b'{"a":' + b"[" * 5000 + b"]" * 700
DEEP = b'{"a":' * 900 + b"1" + b"}" * 900


def token(head: object, claims: object = CLAIMS, signature: bytes = b"s") -> bytes:
    return f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}.{b64(signature)}".encode()


def test_a_token_is_read() -> None:
    text = token({"alg": "RS256", "kid": "k1", "typ": "at+JWT", "jku": "https://evil.example/", "jwk": {"kty": "oct"}})
    read = parse(text)
    assert (read.head.alg, read.head.kid, read.claims["email"], read.signature) == ("RS256", "k1", ANA, b"s")
    assert read.signed == text.rpartition(b".")[0]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"..",
        b"a.b",
        b"opaque-token",
        token({"alg": "RS256"}) + b".more.parts",  # encrypted ones have five parts
        token({"alg": "RS256"}).rpartition(b".")[0] + b".",  # unsigned
        token({"alg": "RS256"}) + b"\n",
        token({"alg": "RS256"}) + b"=",
        token({"alg": 5}),
        token({"kid": "no algorithm"}),
        token(["alg"]),
        token({"alg": "RS256"}, ["claims"]),
        token({"alg": "RS256", "crit": ["exp"]}),
        token({"alg": "RS256", "crit": []}),
        token({"alg": "RS256", "typ": "logout+jwt"}),
        token({"alg": "RS256"}, signature=bytes(1025)),
        token({"alg": "RS256", "x": "x" * MAX_TOKEN}),
        f"{b64(b'[' * 3000)}.{b64(b'[' * 3000)}.AA".encode(),
        f"{b64(DEEP)}.e30.AA".encode(),
        f"{HEAD}.{b64(DEEPEST)}.AA".encode(),
        f"{HEAD[:-1]}{OTHER_BITS}.e30.AA".encode(),
        f"{b64(bytes([0xFF, 0xFE]))}.e30.AA".encode(),
    ],
)
def test_what_is_no_token(text: bytes) -> None:
    with pytest.raises(TokenError):
        parse(text)


def test_good_claims_name_somebody() -> None:
    assert checked_name(CLAIMS, RULES, NOW) == ANA


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"aud": "calendar"}, "another service"),
        ({"aud": None}, "another service"),
        ({"aud": ["calendar", 5, None]}, "another service"),
        ({"aud": f"{AUDIENCE} calendar"}, "another service"),
        ({"aud": {AUDIENCE: 1}}, "another service"),
        ({"exp": None}, "no end"),
        ({"exp": NOW - 60}, "has ended"),
        ({"exp": str(NOW + 600)}, "is no time"),
        ({"exp": True}, "is no time"),
        ({"exp": float("inf")}, "is no time"),
        ({"exp": float("nan")}, "is no time"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"iat": NOW + 61}, "not valid yet"),
        ({"nbf": "soon"}, "is no time"),
        ({"scope": "mailx read"}, "lacks the scope mail"),
        ({"scope": None}, "lacks the scope mail"),
        ({"scope": {"mail": 1}}, "lacks the scope mail"),
        ({"email": None}, "no claim email"),
        ({"email": ""}, "no claim email"),
        ({"email": ["ana@palomar.test"]}, "no claim email"),
        ({"email": "a" * 513}, "no claim email"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "false"}, "not verified"),
    ],
)
def test_what_claims_are_refused_for(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TokenError, match=words):
        checked_name({**CLAIMS, **change}, RULES, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"aud": ["calendar", "other"]},
        {"exp": NOW - 59},
        {"exp": NOW + 0.5},
        {"nbf": NOW + 59},
        {"scope": None, "scp": ["read", "mail"]},
        {"scope": None, "scp": "mail"},
        {"email_verified": True},
    ],
)
def test_what_claims_may_say_as_well(change: dict[str, Any]) -> None:
    assert checked_name({**CLAIMS, **change}, RULES, NOW) == ANA


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(
    st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "scope", "scp", "email", "email_verified"]), _values)
)
@settings(max_examples=100)
def test_whatever_claims_say_only_a_token_error_comes_of_it(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        checked_name(claims, RULES, NOW)  # none names our issuer


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3))
@settings(max_examples=300)
def test_whatever_comes_only_a_token_error_comes_of_it(data: bytes | list[bytes]) -> None:
    text = data if isinstance(data, bytes) else ".".join(map(b64, data)).encode()
    try:
        read = parse(text)
    except TokenError:
        return
    assert isinstance(read.claims, dict)
