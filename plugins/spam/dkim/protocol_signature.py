"""A DKIM-Signature field and a key record, read and checked (RFC 6376 sections 3.5 and 3.6.1, RFC 8301, RFC 8463)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.errors import AddressError
from appliance.mail.address import normal_domain
from appliance.mail.headers import text_of
from appliance.mail.idna import to_ascii
from plugins.spam.dkim.protocol_tags import TagError, names, number, octets, parse_tags, required

MAX_FIELD = 16_384  # octets of one signature field
MAX_KEY_RECORD = 16_384
MAX_SIGNED = 500  # names in h=

_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
_ALGORITHMS = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519", "rsa-sha1": "rsa"}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature claims. Times are epoch seconds."""

    domain: str
    selector: str
    algorithm: str  # "rsa-sha256"
    value: bytes
    body_hash: bytes
    signed: tuple[str, ...]  # names of fields, lower case
    header_form: str = "simple"
    body_form: str = "simple"
    length: int | None = None
    identity: str = ""  # i=, or "@" and the domain
    signed_at: int | None = None
    expires_at: int | None = None
    instance: int = 0  # of an ARC set

    @property
    def key_kind(self) -> str:
        """The kind of key that makes such a signature: rsa or ed25519."""
        return _ALGORITHMS[self.algorithm]

    @property
    def key_name(self) -> str:
        """Where the key is in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


def read_signature(value: bytes, *, arc: bool = False) -> Signature:
    """Read the value of DKIM-Signature, or with `arc` of ARC-Message-Signature. Raises TagError."""
    if len(value) > MAX_FIELD:
        raise TagError(f"more than {MAX_FIELD} octets")
    tags = parse_tags(text_of(value))
    if arc:
        if "v" in tags:
            raise TagError("v= has no place here")
    elif required(tags, "v") != "1":
        raise TagError("v= is not 1")
    algorithm = required(tags, "a").lower()
    if algorithm not in _ALGORITHMS:
        raise TagError(f"the algorithm {algorithm} is unknown")
    if algorithm == "rsa-sha1":
        raise TagError("SHA-1 proves nothing any more")
    domain, selector = read_domain(tags), read_selector(tags)
    header_form, _, body_form = tags.get("c", "relaxed/relaxed" if arc else "simple/simple").lower().partition("/")
    body_form = body_form or "simple"
    if header_form not in {"simple", "relaxed"} or body_form not in {"simple", "relaxed"}:
        raise TagError("c= is unknown")
    if "dns/txt" not in names(tags.get("q", "dns/txt")):
        raise TagError("q= is unknown")
    if "h" not in tags:
        raise TagError("h= is missing")
    signed = tuple(name for name in names(tags["h"]) if name)
    if "from" not in signed and not arc:
        raise TagError("the From field is not signed")
    if len(signed) > MAX_SIGNED or not all(name.isascii() for name in signed):
        raise TagError("h= is no list of fields")
    identity = tags.get("i", "") if not arc else ""
    if identity and not _is_below(identity, domain):
        raise TagError("i= is not of the domain d=")
    signed_at, expires_at = number(tags, "t"), number(tags, "x")
    if signed_at is not None and expires_at is not None and expires_at <= signed_at:
        raise TagError("x= is before t=")
    return Signature(
        domain, selector, algorithm, octets(tags, "b"), octets(tags, "bh"), signed, header_form, body_form,
        number(tags, "l", digits=76), identity or f"@{domain}", signed_at, expires_at,
        read_instance(tags) if arc else 0,
    )  # fmt: skip


def read_domain(tags: dict[str, str]) -> str:
    """d= with A-labels, lower case. Raises TagError."""
    try:
        return to_ascii(normal_domain(required(tags, "d")))
    except AddressError:
        raise TagError("d= is no domain") from None


def read_selector(tags: dict[str, str]) -> str:
    """s=, lower case. Raises TagError."""
    selector = required(tags, "s")
    if _SELECTOR.fullmatch(selector) is None or len(selector) > 200:
        raise TagError("s= is no selector")
    return selector.lower()


def read_instance(tags: dict[str, str]) -> int:
    """i= of an ARC field, 1 to 50 (RFC 8617 section 4.2.1). Raises TagError."""
    instance = number(tags, "i", digits=2)
    if instance is None or not 1 <= instance <= 50:
        raise TagError("i= is no number from 1 to 50")
    return instance


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A domain's public key as DNS has it. `key` is DER of an RSA key, or the 32 octets of an Ed25519 one."""

    kind: str
    key: bytes
    testing: bool = False
    strict: bool = False  # i= must be of the very domain d=
    hashes: tuple[str, ...] = ()  # those allowed; empty allows all
    granularity: str = "*"  # for which local parts it is: DomainKeys alone asks (RFC 4870 section 3.2.3)

    def grants(self, local: str) -> bool:
        """Whether the key is for this local part; one `*` stands for anything."""
        begin, star, end = self.granularity.partition("*")
        if not star:
            return local == begin
        return len(local) >= len(begin) + len(end) and local.startswith(begin) and local.endswith(end)


def read_key(text: bytes) -> KeyRecord:
    """Read a key record (section 3.6.1). Raises TagError, also for a key that is revoked or for other services."""
    if len(text) > MAX_KEY_RECORD:
        raise TagError(f"the key record has more than {MAX_KEY_RECORD} octets")
    tags = parse_tags(text_of(text))
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise TagError("the record is no DKIM key")
    if "p" not in tags:
        raise TagError("the record holds no key")
    if not tags["p"]:
        raise TagError("the key has been revoked")
    kind = tags.get("k", "rsa").lower()
    if kind not in {"rsa", "ed25519"}:
        raise TagError(f"keys of the kind {kind} are unknown")
    if not {"*", "email"} & set(names(tags.get("s", "*"))):
        raise TagError("the key is not for mail")
    flags = names(tags.get("t", ""))
    hashes = tuple(names(tags["h"])) if tags.get("h") else ()
    return KeyRecord(kind, octets(tags, "p"), "y" in flags, "s" in flags, hashes, tags.get("g") or "*")


def _is_below(identity: str, domain: str) -> bool:
    of = identity.rpartition("@")[2].lower()
    try:
        of = to_ascii(normal_domain(of))
    except AddressError:
        return False
    return "@" in identity and (of == domain or of.endswith("." + domain))
