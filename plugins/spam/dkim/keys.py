"""Public keys from DNS: fetched through the core's resolver, parsed once, checked for size."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.dns import Answer, NoSuchDomainError
from plugins.spam.dkim.protocol_signature import KeyRecord, read_key
from plugins.spam.dkim.protocol_tags import TagError

MIN_BITS = 1024  # RFC 8301 section 3.2
MAX_BITS = 8192  # more only costs the verifier time
MAX_EXPONENT_BITS = 64  # real ones have 17; a huge one is made to cost time
KEPT = 512  # parsed keys

PublicKey = RSAPublicKey | Ed25519PublicKey


class Names(Protocol):
    """What is asked of DNS: the core's resolver."""

    async def look_up(self, name: str, rdtype: str) -> Answer:
        """The records; raises NoSuchDomainError, TemporaryDnsError."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that can be used. `bits` is its size, 256 for Ed25519."""

    record: KeyRecord
    public: PublicKey
    bits: int

    def proves(self, value: bytes, digest_input: bytes, hash_name: str = "sha256") -> bool:
        """Whether `value` is the signature of these octets by this key."""
        try:
            if isinstance(self.public, Ed25519PublicKey):
                self.public.verify(value, hashlib.sha256(digest_input).digest())  # RFC 8463 section 3
            else:
                algorithm: HashAlgorithm = SHA256() if hash_name == "sha256" else SHA1()  # noqa: S303 - DomainKeys has no other
                self.public.verify(value, digest_input, PKCS1v15(), algorithm)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True


async def fetch_key(names: Names, name: str) -> Key:
    """The first usable key of that name. Raises TagError in words where there is none, TemporaryDnsError."""
    try:
        records = (await names.look_up(name, "TXT")).records
    except NoSuchDomainError:
        records = ()
    if not records:
        raise TagError(f"there is no key at {name}")
    problem: TagError | None = None
    for record in records[:4]:
        try:
            return load(record)
        except TagError as error:
            problem = problem or error
    assert problem is not None
    raise problem


@functools.lru_cache(maxsize=KEPT)
def load(record: bytes) -> Key:
    """Parse a key record. Raises TagError for what is none, and for keys too small or too costly."""
    read = read_key(record)
    try:
        if read.kind == "ed25519":
            return Key(read, Ed25519PublicKey.from_public_bytes(read.key), 256)
        public = load_der_public_key(read.key)
    except (ValueError, UnsupportedAlgorithm):
        raise TagError(f"the key is no {read.kind} key") from None
    if not isinstance(public, RSAPublicKey):
        raise TagError("the key is no rsa key")
    if public.key_size < MIN_BITS:
        raise TagError(f"the key has only {public.key_size} bits")
    if public.key_size > MAX_BITS or public.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
        raise TagError("the key is too large to be worth a look")
    return Key(read, public, public.key_size)
