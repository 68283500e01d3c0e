"""Fakes for what is below a connection: a transport that remembers, a loop whose clock stands until it is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from appliance.connection import Connection
from appliance.errors import ProtocolError


class LineMachine:
    """A machine of lines: each is one event; "BAD" breaks the protocol."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.closed = False

    def receive(self, data: bytes) -> None:
        self.buffer += data

    def next_event(self) -> bytes | None:
        end = self.buffer.find(b"\n") + 1
        if not end:
            return None
        line = bytes(self.buffer[:end]).rstrip(b"\r\n")
        del self.buffer[:end]
        if line == b"BAD":
            raise ProtocolError("a bad line", reply=b"500 bad\r\n")
        return line

    def start_tls(self) -> None:
        if self.buffer:
            raise ProtocolError("data pipelined after STARTTLS", reply=b"501 early\r\n")


class FakeSocket:
    def __init__(self) -> None:
        self.descriptor = -1

    def fileno(self) -> int:
        return self.descriptor


class FakeTransport(asyncio.Transport):
    """Keeps what was written in pieces, as the connection wrote them."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 50000), "sockname": ("192.0.2.1", 25), "socket": FakeSocket()})
        self.written: list[bytes] = []
        self.reading = True
        self.buffered = 0
        self.ended = self.closed = self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class FakeTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """The part of an event loop that a connection uses."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[FakeTimer] = []
        self.armed = 0

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        self.armed += 1
        timer = FakeTimer(when, callback)
        self.timers.append(timer)
        return timer

    async def advance(self, seconds: float) -> None:
        """Move the clock, calling timers when they are due, and let woken tasks run."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if not timer.cancelled and timer.when <= end]:
            first = min(due, key=lambda timer: timer.when)
            self.timers.remove(first)
            self.now = max(self.now, first.when)
            first.callback()
            await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def wired(machine: Any = None, **named: Any) -> tuple[Connection, FakeTransport, FakeLoop]:
    """A connection on a fake transport, with a clock of its own."""
    connection = Connection(machine or LineMachine(), **named)
    loop = FakeLoop()
    connection.loop = loop  # type: ignore[assignment]
    transport = FakeTransport()
    connection.connection_made(transport)
    return connection, transport, loop
