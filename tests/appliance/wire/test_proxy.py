"""The PROXY protocol: the cases of its own text, every cut, and arbitrary octets."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.proxy import FIRST, MAX_LINE, MAX_PAYLOAD, Proxied, ProxyError, header, more, parse

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(payload: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload


def addresses(peer: str, local: str, peer_port: int, local_port: int) -> bytes:
    both = ipaddress.ip_address(peer).packed + ipaddress.ip_address(local).packed
    return both + struct.pack("!HH", peer_port, local_port)


def read(stream: bytes) -> tuple[Proxied | None, bytes]:
    """Read as a socket gives it: never more than `more` asks for; what was left unread is returned too."""
    header, place = stream[:FIRST], FIRST
    while missing := more(header):
        if place >= len(stream):
            raise ProxyError("closed")
        header += stream[place : place + missing]
        place += missing
    return parse(header), stream[place:]


FOUR = addresses("192.0.2.1", "198.51.100.1", 56324, 25)
SIX = addresses("2001:db8::1", "2001:db8::2", 4711, 993)


@pytest.mark.parametrize(
    ("header", "proxied"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n", Proxied("192.0.2.1", 56324, "198.51.100.1", 25)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 993\r\n", Proxied("2001:db8::1", 4711, "2001:db8::2", 993)),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 25\r\n", Proxied("192.0.2.1", 1, "192.0.2.2", 25)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        (version_2(FOUR), Proxied("192.0.2.1", 56324, "198.51.100.1", 25)),
        (version_2(SIX, family=0x21), Proxied("2001:db8::1", 4711, "2001:db8::2", 993)),
        (version_2(FOUR + b"\x20\x00\x05\x01\0\0\0\0"), Proxied("192.0.2.1", 56324, "198.51.100.1", 25, tls=True)),
        (version_2(FOUR + b"\x04\x00\x01x\x20\x00\x05\x00\0\0\0\0"), Proxied("192.0.2.1", 56324, "198.51.100.1", 25)),
        (version_2(b"", command=0x20, family=0), None),
        (version_2(FOUR, command=0x20), None),
        (version_2(FOUR, family=0x12), None),  # UDP
        (version_2(b"\0" * 216, family=0x31), None),  # Unix sockets
    ],
)
def test_what_a_proxy_tells(header: bytes, proxied: Proxied | None) -> None:
    assert read(header + b"EHLO a\r\n") == (proxied, b"EHLO a\r\n")


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO client.example.org\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25 26\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 1 25\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.1 1 25\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.1 1 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\nEHLO\r\n",
        b"PROXY TCP4 " + b"1" * MAX_LINE + b"\r\n",
        version_2(FOUR[:-1]),
        version_2(FOUR, family=0x21),
        version_2(FOUR, command=0x22),
        version_2(FOUR, command=0x11),
        version_2(FOUR + b"\x20\x00\x05\x01"),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAX_PAYLOAD + 1) + b"\0" * (MAX_PAYLOAD + 1),
    ],
)
def test_what_is_no_header(header: bytes) -> None:
    with pytest.raises(ProxyError):
        read(header)


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n", version_2(FOUR)])
def test_every_cut_is_noticed(header: bytes) -> None:
    for length in range(len(header)):
        with pytest.raises(ProxyError):
            read(header[:length])


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535), st.booleans(), st.binary(max_size=40))
def test_both_versions_say_the_same(
    peer: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, local_port: int, late: bool, rest: bytes
) -> None:
    local = "127.0.0.1" if peer.version == 4 else "::1"
    line = f"PROXY TCP{peer.version} {peer} {local} {port} {local_port}\r\n".encode()
    binary = version_2(addresses(str(peer), local, port, local_port), family=0x11 if peer.version == 4 else 0x21)
    mapped = getattr(peer, "ipv4_mapped", None)
    wanted = Proxied(str(mapped or peer), port, local, local_port)
    assert read(line + rest) == (wanted, rest)
    assert read(binary + rest) == (wanted, rest)


@given(st.one_of(st.binary(min_size=FIRST, max_size=200), st.binary(max_size=120).map(lambda b: b"PROXY TCP4 " + b),
                 st.binary(max_size=120).map(lambda b: SIGNATURE + b"\x21\x11" + b)))  # fmt: skip
def test_any_octets_are_read_or_refused(stream: bytes) -> None:
    try:
        found, _ = read(stream)
    except ProxyError:
        return
    assert found is None or 0 <= found.peer_port < 65536


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (Proxied("192.0.2.1", 5, "198.51.100.1", 993, tls=True), None),
        (Proxied("2001:db8::1", 5, "2001:db8::2", 993), None),
        (Proxied("192.0.2.1", 5, "2001:db8::2", 993), None),
        (Proxied("", 0, "", 0), "unknown"),
    ],
)
def test_what_we_tell_is_read_as_it_is(told: Proxied, read: str | None) -> None:
    made = header(told)
    assert more(made) == 0
    assert parse(made) == (None if read else told)
