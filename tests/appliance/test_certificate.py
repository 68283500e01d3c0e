from __future__ import annotations

import datetime
import hashlib
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.certificate import Certificate, CertificateError, read_der, read_pem

START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2060, 3, 1, tzinfo=datetime.UTC)  # past 2049: GeneralizedTime


def make(key: object, hash_algorithm: hashes.HashAlgorithm | None, **sign: object) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    names = [
        x509.DNSName("Mail.Palomar.test"),
        x509.DNSName("*.example.org"),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(2**130)
        .not_valid_before(START)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hash_algorithm, **sign)  # type: ignore[arg-type]
    )


EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda a: a.name)
@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "pss"])
def test_the_binding_uses_the_signatures_own_hash(kind: str, algorithm: hashes.HashAlgorithm) -> None:
    sign = {"rsa_padding": padding.PSS(padding.MGF1(algorithm), 32)} if kind == "pss" else {}
    raw = der(make(EC_KEY if kind == "ecdsa" else RSA_KEY, algorithm, **sign))
    assert read_der(raw).binding == hashlib.new(algorithm.name, raw).digest()


def test_a_signature_without_a_hash_has_no_binding() -> None:
    assert read_der(der(make(ed25519.Ed25519PrivateKey.generate(), None))).binding == b""


def test_names_and_dates_are_read() -> None:
    found = read_der(der(make(EC_KEY, hashes.SHA256())))
    assert found.names == ("mail.palomar.test", "*.example.org", "::1")
    assert (found.not_before_at, found.not_after_at) == (START.timestamp(), END.timestamp())


def test_the_first_certificate_of_a_chain_counts() -> None:
    first, second = (make(EC_KEY, hashes.SHA256()) for _ in range(2))
    pem = "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in (first, second))
    assert read_pem("some words before\n" + pem) == read_der(der(first))


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("MAIL.palomar.test.", True),
        ("a.example.org", True),
        ("a.b.example.org", False),
        ("example.org", False),
        ("::1", True),
        ("localhost", False),
    ],
)
def test_a_wildcard_stands_for_one_label(name: str, covered: bool) -> None:
    names = ("mail.palomar.test", "*.example.org", "::1")
    assert Certificate(names, 0, 0, b"").covers(name) is covered


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"]
)
def test_what_is_no_pem_is_told_in_words(text: str) -> None:
    with pytest.raises(CertificateError):
        read_pem(text)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4), st.booleans())
def test_damage_is_an_error_of_ours_or_harmless(place: int, noise: bytes, cut: bool) -> None:
    raw = SOUND[:place] if cut else SOUND[:place] + noise + SOUND[place + len(noise) :]
    try:
        read_der(raw)
    except CertificateError as error:
        assert str(error).startswith("the certificate is damaged")  # noqa: PT017


SOUND = der(make(EC_KEY, hashes.SHA256()))
