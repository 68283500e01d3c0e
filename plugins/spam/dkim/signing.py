"""Makes DKIM signatures (RFC 6376 section 5, RFC 8463)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from appliance.mail.message import Message
from plugins.spam.dkim.protocol_canonical import relaxed_field, select

RSA_BITS = 2048  # what every receiver understands, and what fits one TXT record of two strings
KINDS = ("rsa", "ed25519")
WIDTH = 72

# Fields that say who wrote what to whom; those in OVERSIGNED are signed once more than they are there, so that
# nobody can add one (RFC 6376 section 8.15).
SIGNED = (
    "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
    "mime-version", "content-type", "content-transfer-encoding", "list-id", "list-unsubscribe", "list-unsubscribe-post",
    "auto-submitted", "tls-required",
)  # fmt: skip
OVERSIGNED = ("from", "reply-to", "to", "cc", "subject", "date", "message-id")

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the name under which its public half is in DNS."""

    domain: str
    selector: str
    private: PrivateKey

    @property
    def algorithm(self) -> str:
        """As `a=` says it."""
        return "ed25519-sha256" if isinstance(self.private, Ed25519PrivateKey) else "rsa-sha256"

    def sign(self, octets: bytes) -> bytes:
        """The signature of these octets."""
        if isinstance(self.private, Ed25519PrivateKey):
            return self.private.sign(hashlib.sha256(octets).digest())
        return self.private.sign(octets, PKCS1v15(), SHA256())


def generate(kind: str) -> bytes:
    """Make a private key of one of KINDS, as DER."""
    made: PrivateKey
    made = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, RSA_BITS)
    return made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def load_private(der: bytes) -> PrivateKey:
    """Read a private key. Raises TypeError for one that signs no mail, ValueError for none at all."""
    key = load_der_private_key(der, None)
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise TypeError("neither an RSA nor an Ed25519 key")
    return key


def public_record(private: PrivateKey) -> str:
    """The text of the key's DNS record (RFC 6376 section 3.6.1)."""
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode()}"


def signed_names(message: Message) -> list[str]:
    """The names for h=: each field of SIGNED as often as it is there, and once more if it is OVERSIGNED."""
    counts: dict[str, int] = {}
    for field in message.fields():
        name = field.name.decode("latin-1")
        counts[name] = counts.get(name, 0) + 1
    names: list[str] = []
    for name in SIGNED:
        names += [name] * (counts.get(name, 0) + (name in OVERSIGNED))
    return names


def signature_field(
    field_name: str, tags: Sequence[tuple[str, str]], key: SigningKey, before: Sequence[bytes]
) -> bytes:
    """A whole field, signed: `tags` with `b=` behind them; what is signed are `before` and the field, relaxed."""
    draft = _folded(field_name, [*tags, ("b", "")])
    signed = b"".join(before) + relaxed_field(draft).removesuffix(b"\r\n")
    value = base64.b64encode(key.sign(signed)).decode()
    pieces = [value[start : start + WIDTH] for start in range(0, len(value), WIDTH)]
    return draft.removesuffix(b"\r\n") + "\r\n ".join(["", *pieces]).encode() + b"\r\n"


def sign(message: Message, key: SigningKey, body_hash: bytes, *, now: float | None) -> bytes:
    """The DKIM-Signature field for a message. `now` is epoch seconds, None where the clock is not to be trusted."""
    names = signed_names(message)
    tags = [("v", "1"), ("a", key.algorithm), ("c", "relaxed/relaxed"), ("d", key.domain), ("s", key.selector)]
    if now is not None:
        tags.append(("t", str(int(now))))
    tags += [("h", ":".join(names)), ("bh", base64.b64encode(body_hash).decode())]
    signed = [relaxed_field(raw) for raw in select(message.header, message.fields(), names)]
    return signature_field("DKIM-Signature", tags, key, signed)


def _folded(name: str, tags: Sequence[tuple[str, str]]) -> bytes:
    """`Name: a=b; c=d` in lines of at most about WIDTH characters; a list of names breaks at its colons."""
    lines, line = [], f"{name}:"
    for number, (tag, value) in enumerate(tags):
        end = "" if number == len(tags) - 1 else ";"
        words = value.split(":") if tag == "h" else [value]
        for place, word in enumerate(words):
            text = (f"{tag}=" if not place else "") + word + (":" if place < len(words) - 1 else end)
            gap = "" if place else " "
            if len(line) + len(gap) + len(text) > WIDTH and line.strip():
                lines.append(line)
                line, gap = "", " "
            line += gap + text
    return "\r\n".join([*lines, line]).encode() + b"\r\n"
