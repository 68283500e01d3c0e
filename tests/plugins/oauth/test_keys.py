"""Key sets and signatures."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.oauth.keys import MAX_JWKS, MAX_KEYS, KeysError, candidates, read_keys, verified
from plugins.oauth.protocol_token import parse
from tests.plugins.oauth.issuer import Issuer, number, rsa_key

ALGORITHMS = ("RS256", "ES256", "EdDSA")
ISSUER = Issuer()
KEYS = read_keys(ISSUER.key_set(), ALGORITHMS)


def is_verified(text: str, keys: Any = KEYS) -> bool:
    token = parse(text.encode())
    return verified(keys, token.head.alg, token.head.kid, token.signed, token.signature)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures_are_verified(algorithm: str) -> None:
    text = ISSUER.token(algorithm)
    assert is_verified(text)
    head, claims, signature = text.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    for place in (0, len(raw) - 1):
        raw[place] ^= 1
        bad = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
        assert not is_verified(f"{head}.{claims}.{bad}")
        raw[place] ^= 1
    assert not is_verified(f"{head}.{Issuer.token(ISSUER, algorithm, email='x@y').split('.')[1]}.{signature}")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_s_signature_under_our_key_s_name(algorithm: str) -> None:
    assert not is_verified(Issuer(2).token(algorithm, head={"kid": ISSUER.kid(algorithm)}))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_may_leave_the_key_s_name_out(algorithm: str) -> None:
    assert is_verified(ISSUER.token(algorithm, head={"kid": None}))


@pytest.mark.parametrize("claimed", ["none", "None", "HS256", "HS512", "RS512", "ES384", "PS256", ""])
@pytest.mark.parametrize("signed_as", ["HS256", "RS256"])
def test_the_header_s_word_makes_no_key_another_s(claimed: str, signed_as: str) -> None:
    """`none`, and the public key taken for the secret of an HMAC."""
    for kid in (ISSUER.kid("RS256"), None):
        assert not is_verified(ISSUER.token(signed_as, head={"alg": claimed, "kid": kid}))


@pytest.mark.parametrize("claimed", ALGORITHMS)
def test_a_key_is_good_for_its_own_algorithm_only(claimed: str) -> None:
    for made_by in set(ALGORITHMS) - {claimed}:
        assert not is_verified(ISSUER.token(made_by, head={"alg": claimed}))


def test_a_signature_of_another_form_is_none() -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    signed = b"data"
    der = ISSUER.ec.sign(signed, ECDSA(SHA256()))
    (key,) = candidates(KEYS, "ES256", "")
    assert not verified([key], "ES256", "", signed, der)
    assert not verified([key], "ES256", "", signed, bytes(64))
    right = ISSUER.sign("ES256", signed)
    assert verified([key], "ES256", "", signed, right)
    assert not verified([key], "ES256", "", signed, right[:32] + b"\0" + right[32:])  # the same numbers


RSA = ISSUER.jwks()[0]


@pytest.mark.parametrize(
    "key",
    [
        {**RSA, "use": "enc"},
        {**RSA, "key_ops": ["sign"]},
        {**RSA, "alg": "RS512"},
        {**RSA, "n": ""},
        {**RSA, "n": "!!!"},
        {**RSA, "e": number(1)},
        {**RSA, "e": number(1 << 40)},
        {**RSA, "n": number(rsa_key(9, 1024).public_key().public_numbers().n)},
        {**RSA, "n": number((1 << 8200) + 1)},
        {**RSA, "kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-256", "x": number(5), "y": number(6)},  # not on the curve
        {"kty": "EC", "crv": "P-521", "x": number(5), "y": number(6)},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": 5},
        5,
    ],
)
def test_keys_that_are_passed_over(key: object) -> None:
    with pytest.raises(KeysError, match="no key for RS256"):
        read_keys(json.dumps({"keys": [key]}).encode(), ALGORITHMS)
    kept = read_keys(json.dumps({"keys": [key, *ISSUER.jwks()]}).encode(), ("RS256",))
    assert [one.kid for one in kept] == ["RS256-1"]


def test_bounds() -> None:
    with pytest.raises(KeysError, match="more than"):
        read_keys(b" " * (MAX_JWKS + 1), ALGORITHMS)
    many = [{"kty": "oct"}] * MAX_KEYS + ISSUER.jwks()
    with pytest.raises(KeysError, match="no key for"):
        read_keys(json.dumps({"keys": many}).encode(), ALGORITHMS)
    same = read_keys(json.dumps({"keys": [RSA] * 20}).encode(), ALGORITHMS)
    assert len(candidates(same, "RS256", "")) == 4


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_whatever_comes_it_is_no_key_set(data: bytes) -> None:
    for text in (data, b'{"keys":' + data, b'{"keys":[' + data + b"]}"):
        with pytest.raises(KeysError):
            read_keys(text, ALGORITHMS)
