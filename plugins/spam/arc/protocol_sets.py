"""The sets of an Authenticated Received Chain: three fields of one instance each (RFC 8617 sections 4 and 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.mail.headers import Field, text_of
from plugins.spam.dkim.protocol_canonical import relaxed_field, without_signature
from plugins.spam.dkim.protocol_signature import Signature, read_domain, read_instance, read_selector, read_signature
from plugins.spam.dkim.protocol_tags import TagError, names, octets, parse_tags, required

MAX_SETS = 50  # section 5.2
RESULTS, MESSAGE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"

_INSTANCE = re.compile(r"\s*i\s*=\s*(\d{1,2})\s*;(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Seal:
    """An ARC-Seal: it signs every set up to its own."""

    instance: int
    state: str  # cv=: none, pass, fail
    domain: str
    selector: str
    algorithm: str
    value: bytes

    @property
    def key_name(self) -> str:
        """Where the key is in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(slots=True)
class ArcSet:
    """One instance: the fields as they are, and what two of them say."""

    results: Field
    message: Field
    seal: Field
    signature: Signature
    sealed: Seal
    sealed_for: str = field(default="")  # the results, without the instance


def read_sets(fields: Sequence[Field]) -> list[ArcSet]:
    """All sets, the first instance first; empty without any. Raises TagError for a structure that is broken."""
    by_name: dict[bytes, dict[int, Field]] = {RESULTS: {}, MESSAGE: {}, SEAL: {}}
    for one in fields:
        known = by_name.get(one.name)
        if known is None:
            continue
        instance = _instance(one)
        if instance in known:
            raise TagError(f"two ARC fields of one kind have i={instance}")
        known[instance] = one
    count = len(by_name[SEAL])
    if any(sorted(known) != list(range(1, count + 1)) for known in by_name.values()):
        raise TagError("the ARC sets are not whole")
    return [_read_set(by_name, instance) for instance in range(1, count + 1)]


def seal_input(header: bytes, sets: Sequence[ArcSet], *, last_whole: bool = False) -> bytes:
    """What the last of these sets' seals signs (section 5.1.1): all their fields, its own `b=` emptied.

    With `last_whole` that stays as it is: another set follows.
    """
    parts = []
    for one in sets:
        parts += [relaxed_field(raw_field(header, one.results)), relaxed_field(raw_field(header, one.message))]
        if one is sets[-1] and not last_whole:
            parts.append(relaxed_field(without_signature(raw_field(header, one.seal))).removesuffix(b"\r\n"))
        else:
            parts.append(relaxed_field(raw_field(header, one.seal)))
    return b"".join(parts)


def raw_field(header: bytes, one: Field) -> bytes:
    """The octets of a field as received."""
    return header[one.start : one.end]


def _instance(one: Field) -> int:
    if one.name == RESULTS:
        found = _INSTANCE.match(text_of(one.value))
        if found is None:
            raise TagError("ARC-Authentication-Results has no i=")
        return read_instance({"i": found[1]})
    return read_instance(parse_tags(text_of(one.value)))


def _read_set(by_name: dict[bytes, dict[int, Field]], instance: int) -> ArcSet:
    results, message, seal = (by_name[name][instance] for name in (RESULTS, MESSAGE, SEAL))
    signature = read_signature(message.value, arc=True)
    if "arc-seal" in signature.signed:
        raise TagError("ARC-Message-Signature signs a seal")
    found = _INSTANCE.match(text_of(results.value))
    return ArcSet(results, message, seal, signature, _read_seal(seal), found[2].strip() if found else "")


def _read_seal(one: Field) -> Seal:
    tags = parse_tags(text_of(one.value))
    algorithm = required(tags, "a").lower()
    if algorithm not in {"rsa-sha256", "ed25519-sha256"}:
        raise TagError(f"the algorithm {algorithm} is unknown")
    if "h" in tags:
        raise TagError("ARC-Seal has an h=")
    state = required(tags, "cv").lower()
    if state not in {"none", "pass", "fail"}:
        raise TagError("cv= is unknown")
    if "dns/txt" not in names(tags.get("q", "dns/txt")):
        raise TagError("q= is unknown")
    return Seal(read_instance(tags), state, read_domain(tags), read_selector(tags), algorithm, octets(tags, "b"))
