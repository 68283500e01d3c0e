"""The server's side of PLAIN (RFC 4616), LOGIN and CRAM-MD5 (RFC 2195)."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Protocol

import msgspec

from appliance.wire.sasl.errors import SaslError


class SendChallenge(msgspec.Struct, frozen=True):
    """Send `data` to the client; its next message goes into `step`."""

    data: bytes


class CheckPassword(msgspec.Struct, frozen=True):
    """The client named itself and a password; whether it is right is the caller's to find out. Ends the exchange."""

    login: str
    password: str
    authzid: str = ""  # who the client wants to act as; empty: the same


class Lookup(msgspec.Struct, frozen=True):
    """The machine needs the stored verifier of that kind; hand it to `supply`."""

    login: str
    kind: str  # as in `Credential.kind`


class Proven(msgspec.Struct, frozen=True):
    """The client has proven that it knows the secret. Ends the exchange."""

    login: str
    authzid: str = ""


class Disproved(msgspec.Struct, frozen=True):
    """The proof is wrong. Ends the exchange."""

    login: str


Event = SendChallenge | CheckPassword | Lookup | Proven | Disproved


class ServerMechanism(Protocol):
    """One exchange from the server's side. `step` and `supply` raise SaslError when the client breaks the rules."""

    def step(self, data: bytes | None) -> Event:
        """Take the client's next message. None comes first where it sent no initial response."""

    def supply(self, stored: bytes, *, genuine: bool) -> Event:
        """Take the verifier that `Lookup` asked for. A made-up one (`genuine` false) is never proven."""


class _WithoutLookup:
    """A mechanism that never asks for a verifier."""

    __slots__ = ()

    def supply(self, stored: bytes, *, genuine: bool) -> Event:
        raise RuntimeError("this mechanism asked for no verifier")


class PlainServer(_WithoutLookup):
    """PLAIN: one message `[authzid] NUL login NUL password` (RFC 4616 section 2)."""

    __slots__ = ()

    def step(self, data: bytes | None) -> Event:
        """See `ServerMechanism.step`."""
        if data is None:
            return SendChallenge(b"")
        parts = data.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise SaslError("PLAIN needs an identity, NUL, a login name, NUL and a password")
        authzid, login, password = map(_text, parts)
        return CheckPassword(login, password, authzid)


class LoginServer(_WithoutLookup):
    """LOGIN, which was never standardised: two prompts, two answers; an initial response is the login name."""

    __slots__ = ("_login",)

    def __init__(self) -> None:
        self._login: str | None = None

    def step(self, data: bytes | None) -> Event:
        """See `ServerMechanism.step`."""
        if data is None:
            return SendChallenge(b"Username:")
        if not data:
            raise SaslError("LOGIN needs a login name and a password")
        if self._login is None:
            self._login = _text(data)
            return SendChallenge(b"Password:")
        return CheckPassword(self._login, _text(data))


_CRAM_RESPONSE = re.compile(rb"(.+) ([0-9a-fA-F]{32})", re.DOTALL)


class CramMd5Server:
    """CRAM-MD5: the client answers a stamp with its name and HMAC-MD5 of the stamp under the password.

    The verifier is the password itself (kind `plain`), which is why it is only for accounts that opted in.
    """

    __slots__ = ("_digest", "_login", "_sent", "_stamp")

    def __init__(self, stamp: bytes) -> None:
        """`stamp` must never have been used before: `<random.time@host>` (RFC 2195 section 2)."""
        self._stamp = stamp
        self._sent = False
        self._login = ""
        self._digest = b""

    def step(self, data: bytes | None) -> Event:
        """See `ServerMechanism.step`."""
        if not self._sent:
            if data is not None:
                raise SaslError("CRAM-MD5 has no initial response")
            self._sent = True
            return SendChallenge(self._stamp)
        found = _CRAM_RESPONSE.fullmatch(data or b"")
        if found is None:
            raise SaslError("CRAM-MD5 needs a login name, a space and 32 hexadecimal digits")
        self._login, self._digest = _text(found[1]), found[2].lower()
        return Lookup(self._login, "plain")

    def supply(self, stored: bytes, *, genuine: bool) -> Event:
        """See `ServerMechanism.supply`."""
        right = hmac.new(stored, self._stamp, hashlib.md5).hexdigest().encode()
        if hmac.compare_digest(right, self._digest) and genuine:
            return Proven(self._login)
        return Disproved(self._login)


def apop_digest(stamp: bytes, secret: bytes) -> bytes:
    """The digest of POP3's APOP in lower-case hexadecimal digits (RFC 1939 section 7)."""
    return hashlib.md5(stamp + secret).hexdigest().encode()


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError("Names and passwords are UTF-8") from None
