"""The messages between `palomar-hw` and its clients on the Unix socket, and their coding. Pure.

One message is one line of JSON with a `type`. The privileged side reads only what `ClientMessage` lists, each field
within a named limit; a line that is too long, or no message, is a `ProtocolError` and ends the connection. Unknown
fields are passed over, so that the two sides may be of different releases during an update.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from appliance.errors import ProtocolError
from appliance.timestate import TimeState
from hw.nics import Bus, Kind

MAX_CLIENT_LINE = 4096
"""Octets of the longest line that a client may send, its end included."""
MAX_STATE_LINE = 262_144
"""Octets of the longest line that the server sends; a state of 64 interfaces with all their addresses is a tenth."""
MAX_PORTS = 64

Level: TypeAlias = Literal["info", "warning", "error"]
Role: TypeAlias = Literal["mail", "command"]
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
NicName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=15, pattern=r"^[^\s/]+$")]


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=str.lower):
    pass


class _Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


# ── what the server tells ─────────────────────────────────────────────────────────────────────────────────────────


class Board(_Value, frozen=True):
    """What this machine is; it does not change while the machine runs.

    `revision` is the Pi's revision code in hexadecimal, empty elsewhere. `memory_mib` is what was soldered on, where
    the revision tells, else what the kernel sees.
    """

    model: str
    family: str = "unknown"
    serial: str = ""
    revision: str = ""
    memory_mib: int = 0
    has_rtc: bool = False
    has_wifi: bool = False


class Vitals(_Value, frozen=True):
    """How the board does. The four pairs are the firmware's `get_throttled`: now, and at any time since the start."""

    temperature_c: float | None = None
    undervoltage: bool = False
    frequency_capped: bool = False
    throttled: bool = False
    hot: bool = False
    undervoltage_seen: bool = False
    frequency_capped_seen: bool = False
    throttled_seen: bool = False
    hot_seen: bool = False
    known: bool = False
    """Whether the board can tell at all; without it the eight flags mean nothing."""


class NicState(_Value, frozen=True):
    """One interface, in the words of `hw.nics.Nic`, and what palomar-hw makes of it."""

    name: str
    kind: Kind = "ethernet"
    driver: str = ""
    bus: Bus = "none"
    mac: str = ""
    carrier: bool = False
    carrier_changes: int = 0
    speed_mbps: int | None = None
    full_duplex: bool | None = None
    mtu: int = 1500
    words: str = ""
    ssid: str = ""
    signal_dbm: int | None = None


class AddressState(_Value, frozen=True):
    """An address that this machine has: `address` with its prefix length, and where it comes from."""

    nic: str
    address: str
    source: Literal["static", "dhcp", "ra", "link-local", "other"] = "other"
    usable: bool = True
    """False while duplicate address detection runs or after it failed."""


class UplinkState(_Value, frozen=True):
    """A way out of this network. The one with the smallest metric that is `alive` carries the mail."""

    nic: str
    metric: int
    gateway: str = ""
    gateway6: str = ""
    alive: bool = False
    active: bool = False
    reason: str = ""
    """Why it is not alive, in words."""


class Storage(_Value, frozen=True):
    """The medium that the data partition is on."""

    kind: Literal["sd", "emmc", "nvme", "usb", "other"] = "other"
    name: str = ""
    size_bytes: int = 0
    free_bytes: int = 0
    read_only: bool = False
    life_percent_used: int | None = None
    errors: int = 0
    written_bytes: int = 0


class Note(_Value, frozen=True):
    """Something that a person should know: who says it, how bad it is, and one sentence."""

    source: str
    level: Level
    text: str


class State(_Message, frozen=True):
    """The whole state of board and network, sent at connect and after every change, a few changes at a time."""

    board: Board
    vitals: Vitals = Vitals()
    nics: tuple[NicState, ...] = ()
    uplinks: tuple[UplinkState, ...] = ()
    addresses: tuple[AddressState, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ntp: tuple[str, ...] = ()
    hostname: str = ""
    mdns_name: str = ""
    time_state: TimeState = "unset"
    storage: Storage | None = None
    notes: tuple[Note, ...] = ()
    settled: bool = False
    """Whether the plan is applied, and each DHCP client has been answered or has given up for the first time."""


class Refused(_Message, frozen=True):
    """The last thing a client hears: why its connection is closed."""

    reason: str


# ── what clients say ──────────────────────────────────────────────────────────────────────────────────────────────


class Hello(_Message, frozen=True):
    """The first message of a client: the mail process, or a command that only looks."""

    role: Role
    version: Annotated[str, Meta(max_length=64)] = ""


class Alive(_Message, frozen=True):
    """The mail process is well. The hardware watchdog is fed only while these keep coming."""

    full: bool = False
    """Whether it takes no new mail for want of room, which no share of the partition tells: it keeps a reserve."""


class Listeners(_Message, frozen=True):
    """The TCP ports on which the mail process listens to more than the loopback; the firewall opens these."""

    ports: Annotated[tuple[Port, ...], Meta(max_length=MAX_PORTS)] = ()


class Renew(_Message, frozen=True):
    """Ask the DHCP server of this interface anew, at once; of all interfaces where it is empty."""

    nic: Annotated[str, Meta(max_length=15)] = ""


class Identify(_Message, frozen=True):
    """Blink the board's LED for so many seconds, to find the board among others."""

    seconds: Annotated[int, Meta(ge=1, le=600)] = 30


ServerMessage: TypeAlias = State | Refused
ClientMessage: TypeAlias = Hello | Alive | Listeners | Renew | Identify

M = TypeVar("M")


def encode(message: ServerMessage | ClientMessage) -> bytes:
    """One message as the line to send."""
    return msgspec.json.encode(message) + b"\n"


class MessageReader(Generic[M]):
    r"""Makes messages of octets, however the socket cut them. Holds at most one line and one read.

    >>> reader = client_messages()
    >>> reader.receive(b'{"type":"ali')
    >>> reader.next_message()
    >>> reader.receive(b've"}\n')
    >>> reader.next_message()
    Alive()
    """

    def __init__(self, decoder: msgspec.json.Decoder[M], max_line: int) -> None:
        self._decoder = decoder
        self._max_line = max_line
        self._buffer = bytearray()

    def receive(self, data: bytes) -> None:
        """Take what was read. Call `next_message` until it has none, before the next read."""
        self._buffer += data

    def next_message(self) -> M | None:
        """The next message, or None when it needs more octets. Raises ProtocolError; the connection is over then."""
        end = self._buffer.find(b"\n", 0, self._max_line) + 1
        if not end:
            if len(self._buffer) >= self._max_line:
                raise ProtocolError(f"line longer than {self._max_line} octets")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"no message: {error}") from error


def client_messages() -> MessageReader[ClientMessage]:
    """The reader of the privileged side."""
    return MessageReader(msgspec.json.Decoder(ClientMessage), MAX_CLIENT_LINE)


def server_messages() -> MessageReader[ServerMessage]:
    """The reader of a client."""
    return MessageReader(msgspec.json.Decoder(ServerMessage), MAX_STATE_LINE)
