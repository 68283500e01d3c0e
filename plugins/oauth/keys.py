"""The issuer's public keys: read from a JWKS (RFC 7517), and signatures verified by them (RFC 7518, RFC 8037).

A key decides by its kind which algorithm it is good for; what a token's header says is only compared. So nothing that
is written there makes a public key the secret of an HMAC, or a signature superfluous.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.errors import ApplianceError

MAX_JWKS = 256 * 1024  # octets
MAX_KEYS = 100
MAX_TRIED = 4  # keys tried for a token that does not name its own
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
_P256_OCTETS = 32

Verify = Callable[[bytes, bytes], None]
"""Takes signature and signed octets; raises InvalidSignature."""


class KeysError(ApplianceError):
    """There are no keys. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key for one algorithm."""

    kid: str
    algorithm: str
    verify: Verify


class _Jwk(msgspec.Struct):
    """The members that count (RFC 7517 section 4, RFC 7518 section 6)."""

    kty: str
    kid: str = ""
    use: str = ""
    alg: str = ""
    key_ops: list[str] = []
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class _Set(msgspec.Struct):
    keys: list[msgspec.Raw]


def read_keys(data: bytes, algorithms: Sequence[str]) -> list[Key]:
    """The usable keys of a set; others (for encryption, broken ones) are passed over (RFC 7517 section 5).

    Raises KeysError when it is no set, or none is usable.
    """
    if len(data) > MAX_JWKS:
        raise KeysError(f"a key set of more than {MAX_JWKS} octets")
    try:
        found = msgspec.json.decode(data, type=_Set).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeysError("this is no key set (JWKS)") from error
    keys = [key for raw in found[:MAX_KEYS] if (key := _key(raw)) is not None and key.algorithm in algorithms]
    if not keys:
        raise KeysError(f"no key for {', '.join(algorithms)} among the {len(found)} of the key set")
    return keys


def verified(keys: Sequence[Key], algorithm: str, kid: str, signed: bytes, signature: bytes) -> bool:
    """Whether one of the keys that may have made it has made the signature."""
    for key in candidates(keys, algorithm, kid):
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return True
    return False


def candidates(keys: Sequence[Key], algorithm: str, kid: str) -> list[Key]:
    """The keys that a token with this header can be signed by."""
    fitting = [key for key in keys if key.algorithm == algorithm and (not kid or key.kid == kid)]
    return fitting[:MAX_TRIED]


def _key(raw: msgspec.Raw) -> Key | None:
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
        if (jwk.use and jwk.use != "sig") or (jwk.key_ops and "verify" not in jwk.key_ops):
            return None
        algorithm, verify = next(_usable(jwk))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError, StopIteration):
        return None
    return Key(jwk.kid, algorithm, verify) if jwk.alg in ("", algorithm) else None


def _usable(jwk: _Jwk) -> Iterator[tuple[str, Verify]]:
    if jwk.kty == "RSA":
        yield "RS256", _rsa(_number(jwk.n), _number(jwk.e))
    elif jwk.kty == "EC" and jwk.crv == "P-256":
        yield "ES256", _p256(_number(jwk.x), _number(jwk.y))
    elif jwk.kty == "OKP" and jwk.crv == "Ed25519":
        yield "EdDSA", Ed25519PublicKey.from_public_bytes(_octets(jwk.x)).verify


def _rsa(modulus: int, exponent: int) -> Verify:
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or exponent.bit_length() > 32:
        raise ValueError("an RSA key of that size is not used")
    key = RSAPublicNumbers(exponent, modulus).public_key()
    return lambda signature, signed: key.verify(signature, signed, PKCS1v15(), SHA256())


def _p256(x: int, y: int) -> Verify:
    key = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()

    def verify(signature: bytes, signed: bytes) -> None:
        if len(signature) != 2 * _P256_OCTETS:  # two numbers of fixed length (RFC 7518 section 3.4)
            raise InvalidSignature
        halves = signature[:_P256_OCTETS], signature[_P256_OCTETS:]
        pair = encode_dss_signature(*(int.from_bytes(half, "big") for half in halves))
        key.verify(pair, signed, ECDSA(SHA256()))

    return verify


def _number(text: str) -> int:
    return int.from_bytes(_octets(text), "big")


def _octets(text: str) -> bytes:
    if not text or "=" in text:
        raise ValueError("no base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
