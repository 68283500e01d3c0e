"""Verifies the DKIM signatures of a message (RFC 6376 section 6), each body form hashed once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.dns import TemporaryDnsError
from appliance.mail.headers import Field
from appliance.mail.message import Message
from plugins.spam.dkim.keys import Names, fetch_key
from plugins.spam.dkim.protocol_canonical import BODIES, FIELDS, select, without_signature
from plugins.spam.dkim.protocol_signature import Signature, read_signature
from plugins.spam.dkim.protocol_tags import TagError

Result = Literal["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"]

MAX_SIGNATURES = 8  # looked at; more are somebody's try to make us work
LARGE = 256 * 1024  # octets from which a body is prepared in a thread
SKEW_S = 3600  # that two clocks may differ
# Fields that readers show and that may stand there once (RFC 5322 section 3.6): one more than is signed was put there
# by somebody else, and many programs show that one (RFC 6376 section 8.15).
_ONCE = frozenset(("from", "sender", "reply-to", "to", "cc", "subject", "date", "mime-version", "content-type"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one signature. `why` is a sentence unless it passed."""

    result: Result
    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    identity: str = ""
    value: str = ""  # the first characters of b=, which tell signatures of one domain apart (RFC 6008)
    why: str = ""
    testing: bool = False
    bits: int = 0


class Bodies:
    """The hashes of one message's body, each form made once and never held as a whole."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._lengths: dict[str, int] = {}
        self._hashes: dict[tuple[str, str], bytes] = {}

    async def digest(self, form: str, algorithm: str = "sha256") -> bytes:
        """The hash of the whole body in that form."""
        key = (form, algorithm)
        if key not in self._hashes:
            if len(self._message.text) > LARGE:
                await asyncio.to_thread(self._hash, *key)
            else:
                self._hash(*key)
        return self._hashes[key]

    async def length(self, form: str) -> int:
        """Octets of the body in that form."""
        if form not in self._lengths:
            await self.digest(form)
        return self._lengths[form]

    def _hash(self, form: str, algorithm: str) -> None:
        made, length = hashlib.new(algorithm), 0
        for piece in BODIES[form](self._message.text):
            made.update(piece)
            length += len(piece)
        self._hashes[form, algorithm], self._lengths[form] = made.digest(), length


async def verify(message: Message, names: Names, *, now: float | None) -> list[Verdict]:
    """Verify each DKIM-Signature, the topmost first. `now` is epoch seconds, None while the clock is not to be trusted.

    Raises nothing for what mail or DNS hold.
    """
    fields = [field for field in message.fields() if field.name == b"dkim-signature"][:MAX_SIGNATURES]
    bodies = Bodies(message)
    return [await _verify_one(message, field, bodies, names, now) for field in fields]


async def _verify_one(message: Message, field: Field, bodies: Bodies, names: Names, now: float | None) -> Verdict:
    try:
        signature = read_signature(field.value)
    except TagError as error:
        return Verdict("permerror", why=str(error))
    return await verify_signature(message, signature, field, bodies, names, now)


async def verify_signature(
    message: Message, signature: Signature, own: Field, bodies: Bodies, names: Names, now: float | None
) -> Verdict:
    """Verify a signature that was read from the field `own`; ARC's too (RFC 8617 section 4.1.2)."""

    def verdict(result: Result, why: str = "", *, testing: bool = False, bits: int = 0) -> Verdict:
        return Verdict(
            result, signature.domain, signature.selector, signature.algorithm, signature.identity,
            base64.b64encode(signature.value).decode()[:8], why, testing, bits,
        )  # fmt: skip

    if now is not None:
        if signature.expires_at is not None and signature.expires_at < now - SKEW_S:
            return verdict("fail", "the signature has expired")
        if signature.signed_at is not None and signature.signed_at > now + 24 * SKEW_S:
            return verdict("fail", "the signature is from the future")
    if signature.length is not None and signature.length < await bodies.length(signature.body_form):
        return verdict("policy", "the signature does not cover the whole text (l=)")
    try:
        key = await fetch_key(names, signature.key_name)
    except TemporaryDnsError as error:
        return verdict("temperror", str(error))
    except TagError as error:
        return verdict("permerror", str(error))
    record = key.record
    if record.kind != signature.key_kind:
        return verdict("permerror", f"the key is for {record.kind}")
    if record.hashes and "sha256" not in record.hashes:
        return verdict("permerror", "the key is not for SHA-256")
    if record.strict and signature.identity.rpartition("@")[2].lower() != signature.domain:
        return verdict("permerror", "i= is not of the very domain, as the key demands")
    if not hmac.compare_digest(await bodies.digest(signature.body_form), signature.body_hash):
        return verdict("fail", "the text was changed", testing=record.testing, bits=key.bits)
    form = FIELDS[signature.header_form]
    if not signature.instance and (added := _added(message, signature.signed)):
        return verdict("policy", f"the message has more {added} fields than are signed")
    others = [field for field in message.fields() if field.start != own.start]
    signed = [form(one) for one in select(message.header, others, signature.signed)]
    signed.append(form(without_signature(message.header[own.start : own.end])).removesuffix(b"\r\n"))
    if not key.proves(signature.value, b"".join(signed)):
        return verdict("fail", "the header was changed, or another key signed", testing=record.testing, bits=key.bits)
    return verdict("pass", testing=record.testing, bits=key.bits)


def _added(message: Message, signed: Sequence[str]) -> str:
    """A field that is signed and stands there more often than it is signed, or nothing."""
    there = Counter(field.name.decode() for field in message.fields())
    return next((name for name in signed if name in _ONCE and there[name] > max(1, signed.count(name))), "")
