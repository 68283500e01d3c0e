"""Ports for servers under test, by one rule: none that the system may give to an outgoing connection meanwhile."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 12_000, 32_000  # Linux gives connections ports above 32,767


def free_port() -> int:
    """A port nobody listens on now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. They are all held open while they are chosen, so they differ."""
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            sock = socket.socket()
            try:
                sock.bind(("127.0.0.1", random.randrange(LOWEST, HIGHEST)))
            except OSError:
                sock.close()
            else:
                sockets.append(sock)
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
