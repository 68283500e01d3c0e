"""JSON Web Tokens (RFC 7519) as access tokens: read within limits, and their claims checked. No signatures here."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.errors import ApplianceError

MAX_TOKEN = 8192  # octets; issuers with many groups make some 4,000, and a line of SMTP carries no more
MAX_SIGNATURE = 1024  # octets: RSA with 8192 bits
MAX_VALUE = 512  # characters of a claim that names somebody

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# What other tokens of an issuer are called, such as "logout+jwt", is not among them (RFC 9068 section 4).
_TYPES = frozenset({"", "jwt", "at+jwt", "application/jwt", "application/at+jwt"})


class TokenError(ApplianceError):
    """The token is no login. The text is for our log, and holds nothing of what the token's owner may keep secret."""

    def __init__(self, text: str, status: str = "invalid_token") -> None:
        super().__init__(text)
        self.status = status  # RFC 6750 section 3.1


class Head(msgspec.Struct, frozen=True):
    """The members of the header that count (RFC 7515 section 4.1). Keys or links to keys in it are never looked at."""

    alg: str
    kid: str = ""
    typ: str = ""
    crit: Any = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token in its parts; nothing is true of it until its signature is verified over `signed`."""

    head: Head
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """What claims must say. `leeway` in seconds."""

    issuer: str
    audience: Sequence[str]
    scopes: Sequence[str]
    claim: str
    leeway: float


def parse(text: bytes) -> Token:
    """Read a signed token in compact form (RFC 7515 section 7.1). Raises TokenError."""
    if len(text) > MAX_TOKEN:
        raise TokenError(f"a token of {len(text)} octets; {MAX_TOKEN} are allowed")
    found = _COMPACT.fullmatch(text)
    if found is None:
        raise TokenError("no signed JSON Web Token")
    head = _json(found[1], Head)
    if head.crit is not None:
        raise TokenError("the token needs an extension that is not known here")  # RFC 7515 section 4.1.11
    if head.typ.lower() not in _TYPES:
        raise TokenError("the token is of a kind that is no access token")
    claims = _json(found[2], dict[str, Any])
    signature = _octets(found[3])
    if len(signature) > MAX_SIGNATURE:
        raise TokenError("the signature is too long")
    return Token(head, claims, text[: found.end(2)], signature)


def checked_name(claims: Mapping[str, Any], rules: Rules, now: float) -> str:
    """Who the token is for, once all that RFC 7519 section 4.1 and the rules ask for holds. Raises TokenError.

    `now` in epoch seconds. To be asked only of a token whose signature is good.
    """
    if claims.get("iss") != rules.issuer:
        raise TokenError("the token is of another issuer")
    if not set(rules.audience).intersection(_words(claims.get("aud"), split=False)):
        raise TokenError("the token is for another service (aud)")
    _check_times(claims, rules.leeway, now)
    granted = {word for name in ("scope", "scp") for word in _words(claims.get(name), split=True)}
    if missing := [scope for scope in rules.scopes if scope not in granted]:
        raise TokenError(f"the token lacks the scope {missing[0]}", "insufficient_scope")
    name = claims.get(rules.claim)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_VALUE:
        raise TokenError(f"the token has no claim {rules.claim} that could be a name")
    # An address that its issuer has not verified may be anybody's (OpenID Connect Core 1.0 section 5.1).
    if rules.claim == "email" and claims.get("email_verified", True) not in (True, "true"):
        raise TokenError("the address in the token is not verified")
    return name


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    ends_at = _seconds(claims, "exp")
    if ends_at is None:
        raise TokenError("the token has no end (exp)")
    if now >= ends_at + leeway:
        raise TokenError("the token has ended")
    for name in ("nbf", "iat"):
        begins_at = _seconds(claims, name)
        if begins_at is not None and now < begins_at - leeway:
            raise TokenError(f"the token is not valid yet ({name})")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenError(f"the claim {name} is no time")
    return value


def _words(value: object, *, split: bool) -> set[str]:
    """The texts in a claim that is a text or a list of them; `split`: with spaces between."""
    if isinstance(value, str):
        return set(value.split(" ")) if split else {value}
    if isinstance(value, list):
        return {one for one in value if isinstance(one, str)}
    return set()


def _octets(part: bytes) -> bytes:
    """Base64 by RFC 4648 section 5 without padding, and without bits that stand for nothing."""
    try:
        data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        raise TokenError("the token is no base64") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise TokenError("the token is no base64")
    return data


def _json(part: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(_octets(part), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenError("the token is no JSON of the kind that tokens are") from None
