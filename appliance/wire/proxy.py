"""The PROXY protocol, versions 1 and 2: what a load balancer or first-level server says of the client behind it.

The reference is HAProxy's "The PROXY protocol" (doc/proxy-protocol.txt, 2020/03/05). No I/O: the caller reads FIRST
octets, asks `more` how many are missing, and hands the whole header to `parse`.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from appliance.errors import ApplianceError

FIRST = 15  # octets that both versions have at least: "PROXY UNKNOWN\r\n", or the signature and its first fields
MAX_LINE = 107  # octets of a version 1 header with its CR LF (section 2.1)
MAX_PAYLOAD = 4096  # octets behind a version 2 header's fixed part; addresses and their extensions stay below 1 KiB

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16  # octets of version 2 before the addresses
_V1_START = b"PROXY "
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_ADDRESSES: dict[int, tuple[type[_Address], int]] = {  # by family and transport: TCP
    0x11: (ipaddress.IPv4Address, 4),
    0x21: (ipaddress.IPv6Address, 16),
}
_TLV_SSL = 0x20
_CLIENT_SSL = 0x01  # the client came over TLS (section 2.2.5)


class ProxyError(ApplianceError):
    """What came is no header of the PROXY protocol. The text is safe to log."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """The connection that the proxy took: where it came from and went to, and whether it was over TLS."""

    peer_ip: str
    peer_port: int
    local_ip: str
    local_port: int
    tls: bool = False


def header(proxied: Proxied) -> bytes:
    """A version 2 header that tells of a client (section 2.2), or that its address is not known."""
    try:
        peer, local = ipaddress.ip_address(proxied.peer_ip), ipaddress.ip_address(proxied.local_ip)
    except ValueError:  # a Unix socket
        return _SIGNATURE + struct.pack("!BBH", _LOCAL, 0, 0)
    if peer.version != local.version:
        peer, local = _as_six(peer), _as_six(local)
    family = next(number for number, (kind, _) in _ADDRESSES.items() if isinstance(peer, kind))
    payload = peer.packed + local.packed + struct.pack("!HH", proxied.peer_port, proxied.local_port)
    if proxied.tls:
        payload += struct.pack("!BHBI", _TLV_SSL, 5, _CLIENT_SSL, 1)  # 1: the client showed no certificate
    return _SIGNATURE + struct.pack("!BBH", _PROXY, family, len(payload)) + payload


def more(header: bytes) -> int:
    """How many octets at least are missing from `header`; 0 when it is whole. None of what follows it is among them.

    Raises ProxyError as soon as it cannot become one.
    """
    if len(header) < FIRST:
        raise ProxyError("closed within the PROXY header")
    if header.startswith(_SIGNATURE):
        if len(header) < _FIXED:
            return _FIXED - len(header)
        length = int.from_bytes(header[14:16], "big")
        if length > MAX_PAYLOAD:
            raise ProxyError(f"a PROXY header of {length} octets; {MAX_PAYLOAD} are allowed")
        return _FIXED + length - len(header)
    if not header.startswith(_V1_START):
        raise ProxyError("no PROXY header")
    if header.endswith(b"\r\n"):
        return 0
    if b"\n" in header or len(header) >= MAX_LINE:
        raise ProxyError("a PROXY line without its end")
    return 1 if header.endswith(b"\r") else 2


def parse(header: bytes) -> Proxied | None:
    """Read a whole header; None where the proxy speaks for itself (a health check) or does not know its client.

    Raises ProxyError.
    """
    if more(header) != 0:
        raise ProxyError("half a PROXY header")
    return _parse_2(header) if header.startswith(_SIGNATURE) else _parse_1(header)


def _parse_1(header: bytes) -> Proxied | None:
    """Section 2.1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 25`."""
    words = header[:-2].decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return None
    if len(words) != 6 or words[1] not in {"TCP4", "TCP6"}:
        raise ProxyError("a PROXY line that is none")
    kind = ipaddress.IPv4Address if words[1] == "TCP4" else ipaddress.IPv6Address
    try:
        peer, local = kind(words[2]), kind(words[3])
    except ValueError:
        raise ProxyError(f"no {words[1]} addresses in the PROXY line") from None
    return Proxied(_text(peer), _port(words[4]), _text(local), _port(words[5]))


def _port(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 5 and int(word) < 65536):
        raise ProxyError("no port in the PROXY line")
    return int(word)


def _parse_2(header: bytes) -> Proxied | None:
    """Section 2.2: fixed part, two addresses, two ports, then extensions by type and length."""
    command, family = header[12], header[13]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise ProxyError(f"PROXY version and command {command:#04x} are unknown")
    if family not in _ADDRESSES:
        return None  # UDP, Unix sockets, unspecified: to be taken as unknown
    kind, size = _ADDRESSES[family]
    payload = header[_FIXED:]
    if len(payload) < 2 * size + 4:
        raise ProxyError("a PROXY header too short for its addresses")
    peer, local = kind(payload[:size]), kind(payload[size : 2 * size])
    ports = struct.unpack_from("!HH", payload, 2 * size)
    return Proxied(_text(peer), ports[0], _text(local), ports[1], tls=_over_tls(payload[2 * size + 4 :]))


def _as_six(address: _Address) -> _Address:
    return address if address.version == 6 else ipaddress.IPv6Address(f"::ffff:{address}")


def _over_tls(extensions: bytes) -> bool:
    place = 0
    while place + 3 <= len(extensions):
        kind, length = extensions[place], int.from_bytes(extensions[place + 1 : place + 3], "big")
        value = extensions[place + 3 : place + 3 + length]
        if len(value) < length:
            raise ProxyError("a PROXY extension is cut off")
        if kind == _TLV_SSL:
            return bool(value) and bool(value[0] & _CLIENT_SSL)
        place += 3 + length
    return False


def _text(address: _Address) -> str:
    """IPv4-mapped addresses are shown as IPv4, as everywhere."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
