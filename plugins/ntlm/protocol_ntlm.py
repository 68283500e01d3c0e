"""The server's side of NTLM in SASL, by the messages of MS-NLMP section 2.2.1 as MS-SMTPNTLM carries them.

Only NTLMv2 is believed (section 3.3.2): whatever older responses say of a password can be tried out in minutes. No
session key is made, since nothing is signed or sealed by it afterwards; TLS does that.

pyspnego reads and writes the messages. It takes lengths and offsets as they come, so they are looked at before, within
`_MAX`, and what it raises becomes a SaslError. Its own server side would read all passwords from a file: not used.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from spnego._ntlm_raw.md4 import md4
from spnego._ntlm_raw.messages import Authenticate, AvId, Challenge, Negotiate, NegotiateFlags, NTLMMessage, TargetInfo

from appliance.wire.sasl.errors import SaslError
from appliance.wire.sasl.server import Disproved, Event, Lookup, Proven, SendChallenge

CHALLENGE_OCTETS = 8
PROOF_OCTETS = 16
SMALLEST_BLOB = 28  # octets of NTLMv2_CLIENT_CHALLENGE before its list (section 2.2.2.7)

_MAX = {1: 1024, 3: 4096}  # octets of a message by its type; names and a list of target names need some hundred
_MAX_NAME = 512  # octets of a user's or a domain's name
_SIGNATURE = b"NTLMSSP\0"
_FIXED = {1: 32, 3: 64}  # octets before the payload
_PAYLOADS = {1: (16, 24), 3: (12, 20, 28, 36, 44, 52)}  # where length and offset of the payloads stand
_USER, _DOMAIN, _RESPONSE = 36, 28, 20  # among them

_OFFERED = (
    NegotiateFlags.request_target
    | NegotiateFlags.ntlm
    | NegotiateFlags.always_sign
    | NegotiateFlags.extended_session_security
    | NegotiateFlags.key_128
    | NegotiateFlags.key_56
)


class NtlmServer:
    """One exchange: NEGOTIATE, our CHALLENGE, AUTHENTICATE, and the password itself as the verifier (kind `plain`)."""

    __slots__ = ("_blob", "_challenge", "_domain", "_host", "_login", "_names", "_proof", "_state")

    def __init__(self, challenge: bytes, *, host: str, domain: str) -> None:
        """`challenge`: 8 octets that nobody can foresee. `host`: our name. `domain`: that of names without one."""
        self._challenge = challenge
        self._host = host
        self._domain = domain
        self._state = 0  # messages taken
        self._login = ""
        self._names = ("", "")  # user and domain as the client has hashed them
        self._proof = self._blob = b""

    def step(self, data: bytes | None) -> Event:
        """See `ServerMechanism.step`."""
        if data is None or (not data and self._state == 0):
            return SendChallenge(b"")
        self._state += 1
        if self._state == 1:
            return SendChallenge(self._answer(data))
        return self._authenticate(data)

    def _answer(self, data: bytes) -> bytes:
        """CHALLENGE_MESSAGE (section 2.2.1.2). Without a time in it no integrity code is due (section 3.1.5.1.2)."""
        message = _read(data, 1)
        assert isinstance(message, Negotiate)
        flags = message.flags
        granted = (flags & _OFFERED) | NegotiateFlags.ntlm | NegotiateFlags.target_type_server
        granted |= NegotiateFlags.unicode if flags & NegotiateFlags.unicode else NegotiateFlags.oem
        short = self._host.partition(".")[0].upper()[:15]
        info = TargetInfo()
        info[AvId.nb_domain_name] = info[AvId.nb_computer_name] = short
        info[AvId.dns_computer_name] = self._host
        made = Challenge(granted, self._challenge, target_name=short, target_info=info, encoding="ascii")
        return bytes(made.pack())

    def _authenticate(self, data: bytes) -> Event:
        message = _read(data, 3)
        assert isinstance(message, Authenticate)
        charset = "utf-16-le" if message.flags & NegotiateFlags.unicode else "ascii"
        user, domain = _text(data, _USER, charset), _text(data, _DOMAIN, charset)
        if not user:
            raise SaslError("NTLM needs a user's name")
        response = _octets(data, _RESPONSE)
        self._names = user, domain
        self._proof, self._blob = response[:PROOF_OCTETS], response[PROOF_OCTETS:]
        self._login = user if "@" in user else f"{user}@{self._domain}"
        return Lookup(self._login, "plain")

    def supply(self, stored: bytes, *, genuine: bool) -> Event:
        """See `ServerMechanism.supply`."""
        user, domain = self._names
        hashed = md4(stored.decode("utf-8").encode("utf-16-le"))
        key = hmac.digest(hashed, (user.upper() + domain).encode("utf-16-le"), hashlib.md5)
        right = hmac.digest(key, self._challenge + self._blob, hashlib.md5)
        # A response of 24 octets is NTLM's first version; 0x01 0x01 is how the second one begins.
        second = len(self._blob) >= SMALLEST_BLOB and self._blob[:2] == b"\1\1"
        if hmac.compare_digest(right, self._proof) and second and genuine:
            return Proven(self._login)
        return Disproved(self._login)


def _read(data: bytes, kind: int) -> NTLMMessage:
    """Read a message after its bounds were looked at. Raises SaslError."""
    if len(data) > _MAX[kind]:
        raise SaslError("The NTLM message is too long")
    if len(data) < _FIXED[kind] or not data.startswith(_SIGNATURE) or data[8:12] != struct.pack("<I", kind):
        raise SaslError("This is no NTLM message of the kind that is due")
    for place in _PAYLOADS[kind]:
        _octets(data, place)
    try:
        return NTLMMessage.unpack(data)
    except (ValueError, LookupError, struct.error) as error:
        raise SaslError("This is no NTLM message") from error


def _octets(data: bytes, place: int) -> bytes:
    """A payload of a message (section 2.2.1). Raises SaslError where it would lie outside."""
    length, _, offset = struct.unpack_from("<HHI", data, place)
    if not length:
        return b""
    if offset < 12 or offset + length > len(data):
        raise SaslError("A part of the NTLM message lies outside of it")
    return data[offset : offset + length]


def _text(data: bytes, place: int, charset: str) -> str:
    raw = _octets(data, place)
    try:
        text = raw.decode(charset)
    except UnicodeDecodeError:
        raise SaslError("A name in the NTLM message cannot be read") from None
    if len(raw) > _MAX_NAME or "\0" in text:
        raise SaslError("A name in the NTLM message is none")
    return text
