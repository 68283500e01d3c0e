"""SCRAM's keys and stored verifiers, common to both sides (RFC 5802, RFC 7677)."""

from __future__ import annotations

import hashlib
import hmac
import re
from binascii import a2b_base64, b2a_base64

import msgspec

MIN_ITERATIONS = 4096  # RFC 7677 section 4; a client refuses fewer
MAX_ITERATIONS = 1_000_000  # and more: a second of work, not an hour


class ScramHash(msgspec.Struct, frozen=True):
    """One member of the family."""

    mechanism: str  # SCRAM-SHA-256
    kind: str  # scram-sha-256, as in `Credential.kind`
    algorithm: str  # hashlib's name
    size: int  # octets

    def digest(self, data: bytes) -> bytes:
        """H of RFC 5802 section 2.2."""
        return hashlib.new(self.algorithm, data).digest()

    def mac(self, key: bytes, data: bytes) -> bytes:
        """HMAC of RFC 5802 section 2.2."""
        return hmac.digest(key, data, self.algorithm)

    def salted(self, password: str, salt: bytes, iterations: int) -> bytes:
        """Hi of RFC 5802 section 2.2, of a prepared password."""
        return hashlib.pbkdf2_hmac(self.algorithm, password.encode(), salt, iterations)


SHA256 = ScramHash("SCRAM-SHA-256", "scram-sha-256", "sha256", 32)
SHA1 = ScramHash("SCRAM-SHA-1", "scram-sha-1", "sha1", 20)

CHANNEL_BINDING = b"tls-server-end-point"  # RFC 5929 section 4, the only kind both sides can compute everywhere

_STORED = re.compile(rb"(SCRAM-SHA-(?:1|256))\$(\d{1,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


class ScramVerifier(msgspec.Struct, frozen=True):
    """What the server keeps: enough to check a proof and to prove itself, too little to log in with."""

    family: ScramHash
    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def make(cls, family: ScramHash, password: str, salt: bytes, iterations: int) -> ScramVerifier:
        """Derive the verifier of a prepared password (RFC 5802 section 3). Takes some milliseconds."""
        salted = family.salted(password, salt, iterations)
        stored_key = family.digest(family.mac(salted, b"Client Key"))
        return cls(family, iterations, salt, stored_key, family.mac(salted, b"Server Key"))

    @classmethod
    def parse(cls, data: bytes) -> ScramVerifier:
        """Read the text form of RFC 5803: `SCRAM-SHA-256$15000:salt$stored:server`. Raises ValueError."""
        found = _STORED.fullmatch(data)
        if found is None:
            raise ValueError("no SCRAM verifier")
        family = SHA256 if found[1] == b"SCRAM-SHA-256" else SHA1
        salt, stored_key, server_key = map(a2b_base64, found.groups()[2:])
        if len(stored_key) != family.size or len(server_key) != family.size or not int(found[2]):
            raise ValueError("damaged SCRAM verifier")
        return cls(family, int(found[2]), salt, stored_key, server_key)

    def __bytes__(self) -> bytes:
        """The text form of RFC 5803."""
        salt, stored, server = (
            b2a_base64(part, newline=False) for part in (self.salt, self.stored_key, self.server_key)
        )
        return b"%b$%d:%b$%b:%b" % (self.family.mechanism.encode(), self.iterations, salt, stored, server)


def xor(left: bytes, right: bytes) -> bytes:
    """Exclusive or of two strings of one length."""
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
