"""The messages of OAUTHBEARER (RFC 7628) and of XOAUTH2, which came before it and was never standardised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import msgspec

from appliance.wire.sasl.errors import SaslError

_SEPARATOR = b"\x01"
MAX_PAIRS = 20
MAX_NAME = 1024  # octets of an authzid as it is written

Name = Literal["OAUTHBEARER", "XOAUTH2"]

# RFC 5801 section 4: the flag for channel binding, then who the client wants to act as; "," and "=" are written in hex.
_GS2 = re.compile(rb"([ny]|p=[A-Za-z0-9.-]+),(?:a=((?:[^,=\0]|=2C|=3D)+))?,", re.DOTALL)
_PAIR = re.compile(rb"([A-Za-z]+)=([\x21-\x7e \t\r\n]*)")
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)  # RFC 6750 section 2.1


@dataclass(frozen=True, slots=True)
class Presented:
    """What a client says: its token (empty if there is none) and who it wants to act as (empty: whose token it is)."""

    token: bytes
    authzid: str


def parse(mechanism: Name, data: bytes) -> Presented:
    """Read the client's first message. Raises SaslError."""
    if mechanism == "XOAUTH2":
        return _parse_xoauth2(data)
    gs2, separator, rest = data.partition(_SEPARATOR)
    found = _GS2.fullmatch(gs2) if len(gs2) <= MAX_NAME + 16 else None
    if found is None or not separator:
        raise SaslError("OAUTHBEARER begins with n, or y, and who to act as")
    if found[1].startswith(b"p"):
        raise SaslError("OAUTHBEARER knows no channel binding")
    pairs = _pairs(rest)
    return Presented(_token(pairs), _text((found[2] or b"").replace(b"=2C", b",").replace(b"=3D", b"=")))


def _parse_xoauth2(data: bytes) -> Presented:
    first, separator, rest = data.partition(_SEPARATOR)
    if not separator or not first.startswith(b"user=") or len(first) > MAX_NAME:
        raise SaslError("XOAUTH2 begins with user=")
    user = _text(first[5:])
    if not user:
        raise SaslError("XOAUTH2 needs a user")
    return Presented(_token(_pairs(rest)), user)


def _pairs(data: bytes) -> dict[bytes, bytes]:
    """Section 3.1: name=value, each followed by one separator, and one more at the end."""
    parts = data.split(_SEPARATOR, MAX_PAIRS + 2)
    if len(parts) < 2 or len(parts) > MAX_PAIRS + 2 or parts[-1] or parts[-2]:
        raise SaslError("The message does not end as it should")
    pairs: dict[bytes, bytes] = {}
    for part in parts[:-2]:
        found = _PAIR.fullmatch(part)
        if found is None or found[1].lower() in pairs:
            raise SaslError("The message holds no pairs of name and value")
        pairs[found[1].lower()] = found[2]
    return pairs


def _token(pairs: dict[bytes, bytes]) -> bytes:
    auth = pairs.get(b"auth", b"").strip()
    if not auth:
        return b""  # section 3.1: whoever has no token yet asks by this who makes them
    found = _BEARER.fullmatch(auth)
    if found is None:
        raise SaslError("Only bearer tokens are taken")
    return found[1]


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError("Names are UTF-8") from None
    if "\0" in text:
        raise SaslError("Names hold no NUL")
    return text


def failure(mechanism: Name, status: str, scopes: str, discovery_url: str) -> bytes:
    """The message that tells a client why its token is none (RFC 7628 section 3.2.2), or where to get one."""
    if mechanism == "XOAUTH2":
        told = {"status": "401" if status == "invalid_token" else "400", "schemes": "bearer", "scope": scopes}
    else:
        told = {"status": status, "scope": scopes, "openid-configuration": discovery_url}
    return msgspec.json.encode({name: value for name, value in told.items() if value or name == "status"})
