"""The client's side of SCRAM-SHA-1 and SCRAM-SHA-256, with and without -PLUS (RFC 5802)."""

from __future__ import annotations

import hmac
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from appliance.wire.sasl.errors import SaslServerError
from appliance.wire.sasl.scram import CHANNEL_BINDING, MAX_ITERATIONS, MIN_ITERATIONS, ScramHash, xor

_SERVER_FIRST = re.compile(
    rb"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<iterations>[1-9]\d{0,6})(?:,.*)?", re.DOTALL
)
_SERVER_FINAL = re.compile(rb"v=(?P<signature>[A-Za-z0-9+/=]+)(?:,.*)?", re.DOTALL)


class ScramClient:
    """One SCRAM exchange. `done` becomes true only when the server has proven that it knows the verifier."""

    __slots__ = ("_bare", "_binding", "_family", "_header", "_login", "_nonce", "_password", "_signature", "done")

    def __init__(
        self,
        family: ScramHash,
        login: str,
        password: str,
        nonce: bytes,
        *,
        plus: bool = False,
        binding: bytes = b"",
        plus_offered: bool = False,
    ) -> None:
        """Arguments as for `client`. With binding data at hand and no -PLUS on offer we say so ("y"): a server that
        did offer it then knows that somebody on the way has cut it out (RFC 5802 section 6).
        """
        if not nonce or b"," in nonce:
            raise ValueError("SCRAM needs a nonce of printable characters without commas")
        if plus and not binding:
            raise ValueError("-PLUS needs channel binding data")
        self._family = family
        self._login = login.replace("=", "=3D").replace(",", "=2C").encode()
        self._password = password
        self._nonce = nonce
        flag = b"p=" + CHANNEL_BINDING if plus else b"y" if binding and not plus_offered else b"n"
        self._header = flag + b",,"
        self._binding = self._header + (binding if plus else b"")
        self._bare = b""
        self._signature = b""
        self.done = False

    def step(self, challenge: bytes | None) -> bytes | None:
        """See `ClientMechanism.step`."""
        if not self._bare:
            if challenge:
                raise SaslServerError("the server spoke before SCRAM's client-first message")
            self._bare = b"n=%b,r=%b" % (self._login, self._nonce)
            return self._header + self._bare
        if challenge is None or self.done:
            raise SaslServerError("SCRAM challenge out of order")
        return self._verify(challenge) if self._signature else self._prove(challenge)

    def _prove(self, challenge: bytes) -> bytes:
        found = _SERVER_FIRST.fullmatch(challenge)
        if found is None:
            raise SaslServerError("malformed SCRAM server-first message")
        nonce, iterations = found["nonce"], int(found["iterations"])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise SaslServerError("the server's SCRAM nonce does not continue ours")
        # Too few would hand an impostor a cheap guess, too many would keep us busy for hours.
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise SaslServerError(f"SCRAM iteration count {iterations} is out of bounds")
        family = self._family
        salted = family.salted(self._password, _base64(found["salt"]), iterations)
        client_key = family.mac(salted, b"Client Key")
        unproven = b"c=%b,r=%b" % (b2a_base64(self._binding, newline=False), nonce)
        message = b"%b,%b,%b" % (self._bare, challenge, unproven)
        proof = xor(client_key, family.mac(family.digest(client_key), message))
        self._signature = family.mac(family.mac(salted, b"Server Key"), message)
        return b"%b,p=%b" % (unproven, b2a_base64(proof, newline=False))

    def _verify(self, challenge: bytes) -> bytes:
        found = _SERVER_FINAL.fullmatch(challenge)
        if found is None or not hmac.compare_digest(_base64(found["signature"]), self._signature):
            raise SaslServerError("the server does not know the password")
        self.done = True
        return b""


def _base64(data: bytes) -> bytes:
    try:
        return a2b_base64(data, strict_mode=True)
    except Base64Error:
        raise SaslServerError("bad base64 in a SCRAM message") from None
