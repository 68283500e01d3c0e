"""Tests that need a network or a file system of their own: they run once more, in a child inside of namespaces."""

from __future__ import annotations

import fcntl
import functools
import inspect
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 300
_INSIDE = "PALOMAR_TEST_NAMESPACES"

_SIOCSIFADDR, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFNETMASK, _IFF_UP = 0x8916, 0x8913, 0x8914, 0x891C, 1


def in_namespaces(*kinds: str) -> Callable[[Callable[..., None]], Any]:
    """Mark a test that is to run in new namespaces (`net`, `mount`), where it is root whoever runs it.

    Outside, the test runs pytest on itself in such a child, without its fixtures; inside, it runs.
    """

    def decorate(test: Callable[..., None]) -> Any:
        if os.environ.get(_INSIDE):
            return pytest.mark.root(test)
        file = Path(inspect.getfile(test)).relative_to(ROOT)

        @functools.wraps(test)
        def outside() -> None:
            done = subprocess.run(
                [*_unshare(kinds), sys.executable, "-m", "pytest", "--tb=short", f"{file}::{test.__name__}"],
                cwd=ROOT, env={**os.environ, _INSIDE: "1"}, timeout=LIMIT_S,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"inside of the namespaces:\n{done.stdout[-6000:]}{done.stderr[-2000:]}"

        outside.__signature__ = inspect.Signature()  # type: ignore[attr-defined]
        return pytest.mark.root(outside)

    return decorate


@functools.cache
def _as_user() -> tuple[str, ...]:
    """Root without the right to unshare (a container's) goes the way of a user."""
    plain = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, timeout=60, check=False)
    return () if plain.returncode == 0 else ("--map-root-user",)


def _unshare(kinds: tuple[str, ...]) -> list[str]:
    return ["unshare", *_as_user(), *(f"--{kind}" for kind in kinds)]


def bring_up(address: str) -> None:
    """Give the network of this namespace its loopback, and an IPv4 address on it that is none of the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _switch_on(control, b"lo")
        octets = socket.inet_aton(address)
        fcntl.ioctl(control, _SIOCSIFADDR, _with_address(b"lo:1", octets))
        fcntl.ioctl(control, _SIOCSIFNETMASK, _with_address(b"lo:1", b"\xff" * 4))


def bring_up_v6(address: str) -> None:
    """The same with an IPv6 address."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        octets = socket.inet_pton(socket.AF_INET6, address)
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("=16sIi", octets, 128, socket.if_nametoindex("lo")))


def _switch_on(control: socket.socket, name: bytes) -> None:
    request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
    (flags,) = struct.unpack("16xH22x", request)
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))


def _with_address(name: bytes, octets: bytes) -> bytes:
    return struct.pack("16sHH4s16x", name, socket.AF_INET, 0, octets)
