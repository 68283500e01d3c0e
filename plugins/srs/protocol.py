"""The Sender Rewriting Scheme: return addresses for forwarded mail that lead back, and that nobody else can make.

As in Shevek's paper "The Sender Rewriting Scheme" and in libsrs2, whose addresses and hashes these are:

    SRS0=hash=day=domain=local@ours             stands for local@domain
    SRS1=hash=first.host==hash=day=domain=local@ours    stands for the SRS0 address of first.host

The hash is the start of a base64 HMAC-SHA1 of what it guards, in lower case; it is compared without regard to case,
since some systems change that. The day is counted modulo 1024 and written in base32.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.errors import AddressError, ApplianceError
from appliance.mail.address import Address

SEPARATORS = "=+-"  # the first one, behind the tag, may be any of these; the others are always =
DAYS = 1024  # after which the count of days begins anew
MAX_HASH = 27  # characters that a base64 SHA-1 has
KEPT = "1"  # in place of the domain: the local part is a token, and the address itself is kept in the store
TOKEN_OCTETS = 16

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class SrsError(ApplianceError):
    """An SRS address that is not ours, was changed, or is too old. The text is fit for a reply."""


@dataclass(frozen=True, slots=True)
class Token:
    """What an address stands for whose original is kept in the store."""

    text: str


def is_srs(address: Address) -> bool:
    """Whether an address has the form of the scheme. Cheap: it is asked for every recipient."""
    local = address.local
    return len(local) > 5 and local[4] in SEPARATORS and local[3] in "01" and local[:3].upper() == "SRS"


def forward(sender: Address, domain: str, key: bytes, *, day: int, hash_length: int) -> Address:
    """The return address at `domain` for mail of `sender`. `day` counts from the epoch.

    One of another forwarder becomes, or stays, an SRS1 address: bounces go to the first forwarder, who knows more.
    """
    tag, opaque = _tag(sender)
    if tag == "SRS1":
        _, host, opaque = _parts(opaque, 3) or ("", "", "")
        if host and opaque:
            return _guarded(host, opaque, domain, key, hash_length)
    elif tag == "SRS0" and len(opaque) > 1:
        return _guarded(sender.domain, sender.local[4:], domain, key, hash_length)
    return _first(sender.domain, sender.local, domain, key, day=day, hash_length=hash_length)


def forward_token(token: Token, domain: str, key: bytes, *, day: int, hash_length: int) -> Address:
    """The return address at `domain` for a sender that is kept in the store."""
    return _first(KEPT, token.text, domain, key, day=day, hash_length=hash_length)


def token_of(sender: Address) -> Token:
    """The token under which a sender is kept: the same for the same address."""
    digest = hashlib.sha256(str(sender).encode()).digest()[:TOKEN_OCTETS]
    return Token(base64.b32encode(digest).decode().rstrip("="))


def reverse(
    address: Address, keys: Sequence[bytes], *, day: int | None, max_age_days: int, hash_length: int
) -> Address | Token:
    """What a return address stands for. `day` None leaves its age unchecked, for while nobody knows the time.

    Raises SrsError, in words for whoever sent to it.
    """
    tag, rest = _tag(address)
    if tag == "SRS1":
        found, host, opaque = _parts(rest, 3) or ("", "", "")
        if not host or opaque[:1] not in tuple(SEPARATORS):
            raise SrsError("it is incomplete")
        _check(found, keys, hash_length, host, opaque)
        return _address(f"SRS0{opaque}", host)
    if tag != "SRS0":
        raise SrsError("it has not the form of one")
    found, stamp, host, local = _parts(rest, 4) or ("", "", "", "")
    if not local:
        raise SrsError("it is incomplete")
    _check(found, keys, hash_length, stamp, host, local)
    if day is not None and not _is_fresh(stamp, day, max_age_days):
        raise SrsError("it has expired")
    return Token(local.upper()) if host == KEPT else _address(local, host)


def _tag(address: Address) -> tuple[str, str]:
    """The tag in upper case and what follows its separator; an empty tag for other addresses."""
    return (address.local[:4].upper(), address.local[5:]) if is_srs(address) else ("", "")


def _parts(text: str, count: int) -> list[str] | None:
    parts = text.split("=", count - 1)
    return parts if len(parts) == count else None


def _first(host: str, local: str, domain: str, key: bytes, *, day: int, hash_length: int) -> Address:
    stamp = _DIGITS[day >> 5 & 31] + _DIGITS[day & 31]
    return Address(f"SRS0={_hash(key, stamp, host, local)[:hash_length]}={stamp}={host}={local}", domain)


def _guarded(host: str, opaque: str, domain: str, key: bytes, hash_length: int) -> Address:
    return Address(f"SRS1={_hash(key, host, opaque)[:hash_length]}={host}={opaque}", domain)


def _hash(key: bytes, *guarded: str) -> str:
    data = b"".join(one.encode().lower() for one in guarded)  # of ASCII letters only, as libsrs2 does
    return base64.b64encode(hmac.new(key, data, hashlib.sha1).digest()).decode()[:MAX_HASH]


def _check(found: str, keys: Sequence[bytes], least: int, *guarded: str) -> None:
    given = found.encode().lower()
    for key in keys:
        right = _hash(key, *guarded).encode().lower()
        if least <= len(given) <= MAX_HASH and hmac.compare_digest(right[: len(given)], given):
            return
    raise SrsError("it was not made here, or was changed on the way")


def _is_fresh(stamp: str, day: int, max_age_days: int) -> bool:
    """Whether a stamp is no older; one of tomorrow passes, since clocks are corrected."""
    places = [_DIGITS.find(digit) for digit in stamp.upper()]
    if len(places) != 2 or min(places) < 0:
        return False
    age = (day - (places[0] * 32 + places[1])) % DAYS
    return age <= max_age_days or age == DAYS - 1


def _address(local: str, domain: str) -> Address:
    """An address from parts that came inside another one. Raises SrsError."""
    try:
        return Address.parse(str(Address(local, domain)))
    except AddressError as error:
        raise SrsError(f"it leads to no address: {error}") from None
