"""tls-server-end-point of certificates, checked against a library that reads them whole."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from appliance.smtpclient.binding import server_end_point

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.test")])
AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PSS_SHA256 = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
PSS_SHA512 = padding.PSS(padding.MGF1(hashes.SHA512()), 32)


def certificate(key: object, algorithm: object, scheme: object = None) -> bytes:
    builder = x509.CertificateBuilder(NAME, NAME, key.public_key(), 1, AT, AT + datetime.timedelta(1))  # type: ignore[attr-defined]
    made = builder.sign(key, algorithm, rsa_padding=scheme)  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.DER)


CASES = {
    "RSA, SHA-256": (certificate(RSA_KEY, hashes.SHA256()), "sha256"),
    "RSA, SHA-384": (certificate(RSA_KEY, hashes.SHA384()), "sha384"),
    "RSA, SHA-512": (certificate(RSA_KEY, hashes.SHA512()), "sha512"),
    "EC, SHA-256": (certificate(EC_KEY, hashes.SHA256()), "sha256"),
    "EC, SHA-384": (certificate(EC_KEY, hashes.SHA384()), "sha384"),
    "EC, SHA-512": (certificate(EC_KEY, hashes.SHA512()), "sha512"),
    "RSA-PSS, SHA-256": (certificate(RSA_KEY, hashes.SHA256(), PSS_SHA256), "sha256"),
    "RSA-PSS, SHA-512": (certificate(RSA_KEY, hashes.SHA512(), PSS_SHA512), "sha512"),
}


@pytest.mark.parametrize(("der", "algorithm"), CASES.values(), ids=CASES.keys())
def test_the_hash_is_that_of_the_signature(der: bytes, algorithm: str) -> None:
    parsed = x509.load_der_x509_certificate(der)
    assert parsed.signature_hash_algorithm is not None
    assert parsed.signature_hash_algorithm.name == algorithm
    assert server_end_point(der) == hashlib.new(algorithm, der).digest()


def test_a_signature_without_a_hash_gives_no_binding() -> None:
    assert server_end_point(certificate(ed25519.Ed25519PrivateKey.generate(), None)) == b""


@given(st.sampled_from(list(CASES.values())), st.data())
def test_damaged_certificates_raise_nothing(case: tuple[bytes, str], data: st.DataObject) -> None:
    der = bytearray(case[0])
    der[data.draw(st.integers(0, 30))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    assert len(server_end_point(bytes(der[:cut]))) in {0, 28, 32, 48, 64}
