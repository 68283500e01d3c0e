"""Functions that test_worker.py runs in children: good ones, and whatever hostile octets may make of one."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def echo(octets: bytes) -> Iterator[bytes]:
    yield octets


def pid(octets: bytes) -> Iterator[bytes]:
    yield b"%d %d" % (os.getpid(), os.getppid())


def misbehave(octets: bytes) -> Iterator[bytes]:
    yield b"begun "
    DEEDS[octets.decode()]()
    yield b"done"


def _connect() -> None:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _read() -> None:
    Path("/etc/hostname").read_bytes()


def _write() -> None:
    Path("/tmp/palomar-worker-test").write_text("x")


def _fork() -> None:
    os.fork()


def _raise_limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))


def _spin() -> None:
    while True:
        pass


def _sleep() -> None:
    time.sleep(1000)


def _ignore_alarm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(1000)


def _crash() -> None:
    ctypes.string_at(0)


def _eat() -> None:
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def _exit() -> None:
    os._exit(7)


def flood(octets: bytes) -> Iterator[bytes]:
    while True:
        yield octets


DEEDS: dict[str, Callable[[], None]] = {
    "connect": _connect,
    "read": _read,
    "write": _write,
    "fork": _fork,
    "raise limit": _raise_limit,
    "spin": _spin,
    "sleep": _sleep,
    "ignore alarm": _ignore_alarm,
    "crash": _crash,
    "eat": _eat,
    "exit": _exit,
}
