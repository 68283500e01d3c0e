"""What two Palomars say to each other about recipients, as a machine without I/O: one JSON object per line, over TLS.

The caller has the mailboxes, the listener stands before it. The caller proves by SCRAM-SHA-256-PLUS (RFC 7677, bound
to the listener's certificate by RFC 5929 section 4) that it knows their common secret, and learns by the same that
the listener does, at this very end of the TLS connection: nobody in between can pass the proofs on.
Then the caller says what lists it has (`Alive`), the listener which of them it holds (`Held`), and the caller sends
what differs (`Changes`), each list answered by `Held` again. `Alive` is repeated once a minute, and when a list has
changed.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from appliance.errors import ProtocolError
from plugins.peers.protocol_list import ENTRY_OCTETS, MAX_SEPARATORS, SALT_OCTETS

MAX_EARLY_LINE = 4096  # octets of a line before the other side has proven itself
MAX_LINE = 256 * 1024
MAX_LISTS = 200  # domains of one caller
MAX_ENTRIES = 400_000  # of one list: two for each address
PIECE = 4000  # entries in one line

NONE = bytes(ENTRY_OCTETS)  # in place of the digest of a list that is not there, or not whole

Digests: TypeAlias = dict[str, bytes]


class Proof(msgspec.Struct, tag="proof"):
    """The caller's next SASL message."""

    data: bytes


class Challenge(msgspec.Struct, tag="challenge"):
    """The listener's next SASL message."""

    data: bytes


class Refused(msgspec.Struct, tag="refused"):
    """The listener's last words."""

    text: str


class Held(msgspec.Struct, tag="held"):
    """The digests of the lists that the listener holds, of the domains it wants to hear of; NONE where it has none.

    Empty, it is the welcome after the login.
    """

    lists: Digests


class Changes(msgspec.Struct, tag="changes"):
    """A part of one list: entries that come and go; `last` ends it. `anew` in the first part empties the list."""

    domain: str
    salt: bytes
    separators: str
    add: list[bytes]
    remove: list[bytes]
    anew: bool = False
    last: bool = False


class Alive(msgspec.Struct, tag="alive"):
    """The caller is there, and these are the digests of all its lists: any other is withdrawn."""

    lists: Digests


Event: TypeAlias = Proof | Challenge | Refused | Held | Changes | Alive

_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def encode(message: Event) -> bytes:
    """One message as a line."""
    return _encoder.encode(message) + b"\n"


class PeerMachine:
    """Either side: lines in, messages out. Raises ProtocolError for what is none, and then for ever."""

    __slots__ = ("_buffer", "_failure", "closed", "trusted")

    def __init__(self) -> None:
        self.closed = False
        self.trusted = False  # the other side has proven itself: it may say more at once
        self._buffer = bytearray()
        self._failure: ProtocolError | None = None

    def receive(self, data: bytes) -> None:
        """Take bytes from the wire."""
        self._buffer += data

    def next_event(self) -> Event | None:
        """Return the next message, or None when it first needs bytes. Raises ProtocolError."""
        if self._failure is not None:
            raise self._failure
        end = self._buffer.find(b"\n")
        if (end if end >= 0 else len(self._buffer)) > (MAX_LINE if self.trusted else MAX_EARLY_LINE):
            raise self._fail("line too long")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            message: Event = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._fail(f"no message of this protocol: {error}") from None
        if fault := _fault(message):
            raise self._fail(fault)
        return message

    def start_tls(self) -> None:
        """TLS comes first here, before any message."""
        raise self._fail("STARTTLS where TLS is up already")

    def _fail(self, text: str) -> ProtocolError:
        self.closed = True
        self._failure = ProtocolError(text)
        return self._failure


def _fault(message: Event) -> str:
    if isinstance(message, (Held, Alive)):
        if len(message.lists) > MAX_LISTS:
            return "too many lists"
        if any(len(one) != ENTRY_OCTETS for one in message.lists.values()):
            return "a digest of a wrong length"
    if isinstance(message, Changes):
        if len(message.salt) != SALT_OCTETS or len(message.separators) > MAX_SEPARATORS:
            return "a salt or separators of a wrong length"
        if any(len(one) != ENTRY_OCTETS for part in (message.add, message.remove) for one in part):
            return "an entry of a wrong length"
    return ""
