"""Ports for servers under test, by one rule: none that the system may give to an outgoing connection meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import socket

LOWEST, HIGHEST = 12_000, 32_000  # Linux gives connections ports above 32,767
# Processes that run tests at once (pytest-xdist's) have ports of their own: another's may be chosen and not yet in use.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_MINE = range(LOWEST + _WORKER, HIGHEST, _WORKERS)
# Each is given once, for one that was given may have no listener yet, or none between a stop and a start.
_fresh = itertools.cycle(random.sample(_MINE, len(_MINE)))


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
                sock.bind(("127.0.0.1", next(_fresh)))
            except OSError:
                sock.close()
            else:
                sockets.append(sock)
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
