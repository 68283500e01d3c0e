"""An issuer of access tokens with keys of its own, honest or not."""

from __future__ import annotations

import base64
import hmac
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://login.palomar.test"
AUDIENCE = "palomar-mail"
ANA = "ana@palomar.test"
NOW = 1_700_000_000


@cache
def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of a test's own number, made once."""
    return rsa.generate_private_key(65537, bits)


def b64(data: bytes) -> str:
    """Base64 for tokens."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    """A number in a JWK."""
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Issuer:
    """Signs what it is given with the key of an algorithm."""

    def __init__(self, generation: int = 1) -> None:
        self.generation = generation
        self.rsa = rsa_key(generation)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def kid(self, algorithm: str) -> str:
        """The name of its key for an algorithm."""
        return f"{algorithm}-{self.generation}"

    def jwks(self) -> list[dict[str, Any]]:
        """Its public keys."""
        numbers, point = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        ed = self.ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x, y = (b64(one.to_bytes(32, "big")) for one in (point.x, point.y))
        return [
            {"kty": "RSA", "kid": self.kid("RS256"), "use": "sig", "n": number(numbers.n), "e": number(numbers.e)},
            {"kty": "EC", "kid": self.kid("ES256"), "crv": "P-256", "x": x, "y": y, "alg": "ES256"},
            {"kty": "OKP", "kid": self.kid("EdDSA"), "crv": "Ed25519", "x": b64(ed), "key_ops": ["verify"]},
        ]

    def key_set(self) -> bytes:
        """Its public keys as a document."""
        return json.dumps({"keys": self.jwks()}).encode()

    def sign(self, algorithm: str, data: bytes) -> bytes:
        """A signature as RFC 7518 writes it."""
        if algorithm == "RS256":
            return self.rsa.sign(data, PKCS1v15(), SHA256())
        if algorithm == "ES256":
            pair = decode_dss_signature(self.ec.sign(data, ec.ECDSA(SHA256())))
            return b"".join(one.to_bytes(32, "big") for one in pair)
        if algorithm == "EdDSA":
            return self.ed.sign(data)
        if algorithm == "HS256":  # the public key as the secret
            pem = self.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            return hmac.digest(pem, data, "sha256")
        return b""

    def token(self, algorithm: str = "RS256", *, head: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token for ana, but for what is given; a claim of None is left out."""
        usual = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW, "email": ANA, "scope": "mail.read mail"}
        said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        header = {"alg": algorithm, "kid": self.kid(algorithm), "typ": "JWT", **(head or {})}
        header = {name: value for name, value in header.items() if value is not None}
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(said).encode())}"
        return f"{signed}.{b64(self.sign(algorithm, signed.encode()))}"


def oauthbearer(token: str, authzid: str = "") -> bytes:
    """The client's message of RFC 7628."""
    to = f"a={authzid}" if authzid else ""
    return f"n,{to},\x01host=mail.palomar.test\x01port=993\x01auth=Bearer {token}\x01\x01".encode()


def xoauth2(token: str, user: str = ANA) -> bytes:
    """The client's message of XOAUTH2."""
    return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()
