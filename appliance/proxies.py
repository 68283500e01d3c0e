"""Proxies that may tell who is behind them, by the PROXY protocol: whom to believe, and reading what they say."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from appliance.wire.proxy import FIRST, Proxied, ProxyError, more, parse

HEADER_S = 5.0  # for the whole header: a proxy sends it at once, before anything else


class TrustedProxies:
    """The networks whose connections begin with a header. Without any, `trusts` costs nothing worth counting."""

    __slots__ = ("_networks", "_ports")

    def __init__(self, networks: Sequence[str] = (), ports: Sequence[int] = ()) -> None:
        self._networks = [ipaddress.ip_network(text) for text in networks]
        self._ports = frozenset(ports)

    def trusts(self, peer_ip: str, listening: socket.socket | None = None) -> bool:
        """Whether a connection from there to that socket begins with a header; never one to a Unix socket."""
        if not self._networks or not peer_ip:
            return False
        if self._ports and listening is not None and listening.getsockname()[1] not in self._ports:
            return False
        peer = ipaddress.ip_address(peer_ip.partition("%")[0])
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer in network for network in self._networks)


async def read_proxied(sock: socket.socket) -> Proxied | None:
    """Read one header and not an octet more; None where the proxy does not tell of a client.

    The socket must not block. Raises ProxyError, also after HEADER_S, and OSError.
    """
    loop = asyncio.get_running_loop()
    header, missing = bytearray(), FIRST
    try:
        async with asyncio.timeout(HEADER_S):
            while missing:
                if not (data := await loop.sock_recv(sock, missing)):
                    raise ProxyError("closed within the PROXY header")
                header += data
                missing = more(bytes(header)) if len(header) >= FIRST else FIRST - len(header)
    except TimeoutError:
        raise ProxyError(f"no PROXY header within {HEADER_S:g} s") from None
    return parse(bytes(header))
