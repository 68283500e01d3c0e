"""The server's side of SCRAM-SHA-1 and SCRAM-SHA-256, with and without -PLUS (RFC 5802 sections 3, 5 to 7)."""

from __future__ import annotations

import hmac
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from appliance.wire.sasl.errors import SaslError
from appliance.wire.sasl.scram import CHANNEL_BINDING, ScramHash, ScramVerifier, xor
from appliance.wire.sasl.server import Disproved, Event, Lookup, Proven, SendChallenge

# RFC 5802 section 7. A mandatory extension ("m=") does not match and so is refused, as the RFC wants it.
_CLIENT_FIRST = re.compile(
    rb"(?P<header>(?P<flag>[ny]|p=(?P<type>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,\0]+))?,)"
    rb"(?P<bare>n=(?P<login>[^,\0]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\0]+)*)"
)
_CLIENT_FINAL = re.compile(
    rb"(?P<unproven>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,\0]+)*)"
    rb",p=(?P<proof>[A-Za-z0-9+/=]+)"
)


class ScramServer:
    """One SCRAM exchange: client-first, server-first, client-final, server-final, and the client's empty answer."""

    __slots__ = (
        "_authzid",
        "_bare",
        "_binding",
        "_family",
        "_first",
        "_genuine",
        "_header",
        "_login",
        "_next",
        "_nonce",
        "_plus",
        "_plus_offered",
        "_verifier",
    )

    def __init__(
        self,
        family: ScramHash,
        nonce: bytes,
        *,
        plus: bool = False,
        binding: bytes = b"",
        plus_offered: bool = False,
    ) -> None:
        """`nonce`: fresh printable ASCII without commas. `plus`: this is the -PLUS mechanism, over a connection with
        the channel binding data `binding`. `plus_offered`: whether the client was offered it.
        """
        self._family = family
        self._nonce = nonce
        self._plus = plus
        self._plus_offered = plus_offered
        self._binding = binding
        self._next = self._client_first
        self._login = self._authzid = ""
        self._header = self._bare = self._first = b""
        self._verifier: ScramVerifier | None = None
        self._genuine = False

    def step(self, data: bytes | None) -> Event:
        """See `ServerMechanism.step`."""
        if data is None:
            if self._header:
                raise SaslError("SCRAM response expected")
            return SendChallenge(b"")
        return self._next(data)

    def supply(self, stored: bytes, *, genuine: bool) -> Event:
        """See `ServerMechanism.supply`. Raises ValueError when `stored` is no verifier of this family."""
        self._verifier = ScramVerifier.parse(stored)
        if self._verifier.family is not self._family:
            raise ValueError(f"no {self._family.mechanism} verifier")
        self._genuine = genuine
        salt = b2a_base64(self._verifier.salt, newline=False)
        self._first = b"r=%b,s=%b,i=%d" % (self._nonce, salt, self._verifier.iterations)
        self._next = self._client_final
        return SendChallenge(self._first)

    def _client_first(self, data: bytes) -> Event:
        found = _CLIENT_FIRST.fullmatch(data)
        if found is None:
            raise SaslError("Malformed SCRAM client-first message")
        self._check_flag(found["flag"], found["type"])
        self._header, self._bare = found["header"], found["bare"]
        self._login = _saslname(found["login"])
        self._authzid = _saslname(found["authzid"] or b"")
        self._nonce = found["nonce"] + self._nonce
        self._next = self._out_of_order
        return Lookup(self._login, self._family.kind)

    def _check_flag(self, flag: bytes, binding_type: bytes | None) -> None:
        """RFC 5802 section 6: who says "y" thinks that we offered no -PLUS; if we did, somebody cut it out."""
        if self._plus != flag.startswith(b"p"):
            raise SaslError("The channel binding flag does not go with the mechanism")
        if self._plus and binding_type != CHANNEL_BINDING:
            raise SaslError("Only tls-server-end-point channel binding is supported")
        if flag == b"y" and self._plus_offered:
            raise SaslError("Channel binding was offered, yet the client did not see it")

    def _client_final(self, data: bytes) -> Event:
        found = _CLIENT_FINAL.fullmatch(data)
        if found is None:
            raise SaslError("Malformed SCRAM client-final message")
        if not hmac.compare_digest(found["nonce"], self._nonce):
            raise SaslError("Wrong SCRAM nonce")
        binding = self._header + (self._binding if self._plus else b"")
        bound = hmac.compare_digest(_base64(found["binding"]), binding)
        proof = _base64(found["proof"])
        assert self._verifier is not None
        message = b"%b,%b,%b" % (self._bare, self._first, found["unproven"])
        signature = self._family.mac(self._verifier.stored_key, message)
        self._next = self._out_of_order
        if len(proof) != self._family.size:
            return Disproved(self._login)
        right = hmac.compare_digest(self._family.digest(xor(proof, signature)), self._verifier.stored_key)
        if not (right and bound and self._genuine):
            return Disproved(self._login)
        self._next = self._acknowledged
        return SendChallenge(b"v=" + b2a_base64(self._family.mac(self._verifier.server_key, message), newline=False))

    def _acknowledged(self, data: bytes) -> Event:
        if data:
            raise SaslError("An empty response was expected")
        return Proven(self._login, self._authzid)

    def _out_of_order(self, data: bytes) -> Event:
        raise SaslError("SCRAM message out of order")


def _saslname(data: bytes) -> str:
    """`=2C` is a comma, `=3D` an equals sign, any other `=` an error (RFC 5802 section 5.1)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SaslError("Names are UTF-8") from None
    if text.count("=") != text.count("=2C") + text.count("=3D"):
        raise SaslError("Malformed SCRAM name")
    return text.replace("=2C", ",").replace("=3D", "=")


def _base64(data: bytes) -> bytes:
    try:
        return a2b_base64(data, strict_mode=True)
    except Base64Error:
        raise SaslError("Invalid base64 data in a SCRAM message") from None
