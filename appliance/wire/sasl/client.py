"""The client's side of PLAIN, LOGIN and CRAM-MD5, and the choice among what a server offers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Protocol

from appliance.wire.sasl.errors import SaslServerError
from appliance.wire.sasl.prepare import saslprep
from appliance.wire.sasl.scram import SHA1, SHA256
from appliance.wire.sasl.scram_client import ScramClient

_BOUND = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
_BY_PROOF = ("SCRAM-SHA-256", "SCRAM-SHA-1")
_IN_CLEAR = ("PLAIN", "LOGIN")
_FAMILIES = {family.mechanism: family for family in (SHA256, SHA1)}


class ClientMechanism(Protocol):
    """One exchange from the client's side.

    `done` says whether the server may be believed when it reports success: always look at it then.
    """

    done: bool

    def step(self, challenge: bytes | None) -> bytes | None:
        """Answer a decoded challenge. None asks for the initial response, and is the answer where there is none.

        Raises SaslServerError when the server is not what it should be.
        """


def choose(offered: Iterable[str], *, private: bool, bound: bool = False) -> str | None:
    """The best mechanism of those offered, or None.

    Without TLS (`private` false) a password never goes out in clear. `bound`: channel binding data is at hand.
    """
    names = {name.upper() for name in offered}
    wanted = [*(_BOUND if bound else ()), *_BY_PROOF, *(_IN_CLEAR if private else ()), "CRAM-MD5"]
    return next((name for name in wanted if name in names), None)


def choose_token(offered: Iterable[str], *, private: bool) -> str | None:
    """The best mechanism that takes a bearer token, or None. A token never goes out in clear."""
    names = {name.upper() for name in offered} if private else set()
    return next((name for name in ("OAUTHBEARER", "XOAUTH2") if name in names), None)


def client(
    mechanism: str,
    login: str,
    password: str,
    *,
    nonce: bytes = b"",
    binding: bytes = b"",
    plus_offered: bool = False,
) -> ClientMechanism:
    """Start an exchange as `login`. `nonce`: fresh printable ASCII without commas, for SCRAM. `binding`: the
    tls-server-end-point data of the server's certificate, if known. `plus_offered`: the server offers -PLUS.

    Raises ValueError for an unknown mechanism, and for names and passwords that RFC 4013 prohibits or that hold NUL.
    """
    name = mechanism.upper()
    login, password = saslprep(login), saslprep(password)
    if name == "PLAIN":
        return PlainClient(login, password)
    if name == "LOGIN":
        return LoginClient(login, password)
    if name == "CRAM-MD5":
        return CramMd5Client(login, password)
    family = _FAMILIES.get(name.removesuffix("-PLUS"))
    if family is None:
        raise ValueError(f"no SASL mechanism {mechanism!r}")
    plus = name.endswith("-PLUS")
    return ScramClient(family, login, password, nonce, plus=plus, binding=binding, plus_offered=plus_offered)


class PlainClient:
    """PLAIN (RFC 4616)."""

    __slots__ = ("_message", "done")

    def __init__(self, login: str, password: str) -> None:
        self._message = b"\0%b\0%b" % (login.encode(), password.encode())
        self.done = False

    def step(self, challenge: bytes | None) -> bytes | None:
        """See `ClientMechanism.step`."""
        if self.done:
            raise SaslServerError("PLAIN has no second challenge")
        self.done = True
        return self._message


class BearerClient:
    """OAUTHBEARER (RFC 7628 section 3.1) and XOAUTH2: a token instead of a password."""

    __slots__ = ("_apology", "_message", "done", "fault")

    def __init__(self, mechanism: str, login: str, token: str, *, host: str = "", port: int = 0) -> None:
        """Raises ValueError for a name or token that holds what separates the fields."""
        if not token.isascii() or not token.isprintable() or any(ord(one) < 32 for one in login):
            raise ValueError("a name or token that cannot be sent")
        if mechanism == "XOAUTH2":
            self._message = f"user={login}\1auth=Bearer {token}\1\1".encode()
            self._apology = b""
        else:
            name = login.replace("=", "=3D").replace(",", "=2C")
            where = f"host={host}\1port={port}\1" if host else ""
            self._message = f"n,a={name},\1{where}auth=Bearer {token}\1\1".encode()
            self._apology = b"\1"  # RFC 7628 section 3.2.3
        self.done = False
        self.fault = b""  # what the server said of a token that it does not take

    def step(self, challenge: bytes | None) -> bytes | None:
        """See `ClientMechanism.step`."""
        if not self.done:
            self.done = True
            return self._message
        if self.fault:
            raise SaslServerError("the server goes on about a token that it has refused")
        self.fault = challenge or b"{}"
        return self._apology


class ExternalClient:
    """EXTERNAL (RFC 4422 appendix A): who we are, TLS has told; the empty message asks to be that one."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def step(self, challenge: bytes | None) -> bytes | None:
        """See `ClientMechanism.step`."""
        if self.done:
            raise SaslServerError("EXTERNAL has no second challenge")
        self.done = True
        return b""


class LoginClient:
    """LOGIN: the first prompt is answered with the name, the second with the password, whatever they say."""

    __slots__ = ("_answers", "done")

    def __init__(self, login: str, password: str) -> None:
        self._answers = [password.encode(), login.encode()]
        self.done = False

    def step(self, challenge: bytes | None) -> bytes | None:
        """See `ClientMechanism.step`."""
        if challenge is None:
            return None  # servers differ on what an initial response means here
        if self.done:
            raise SaslServerError("LOGIN has no third challenge")
        answer = self._answers.pop()
        self.done = not self._answers
        return answer


class CramMd5Client:
    """CRAM-MD5 (RFC 2195)."""

    __slots__ = ("_login", "_password", "done")

    def __init__(self, login: str, password: str) -> None:
        self._login = login.encode()
        self._password = password.encode()
        self.done = False

    def step(self, challenge: bytes | None) -> bytes | None:
        """See `ClientMechanism.step`."""
        if challenge is None:
            return None
        if self.done:
            raise SaslServerError("CRAM-MD5 has no second challenge")
        self.done = True
        return b"%b %b" % (self._login, hmac.new(self._password, challenge, hashlib.md5).hexdigest().encode())
