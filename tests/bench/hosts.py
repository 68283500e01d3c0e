"""The next hops of the drain: a process of its own that plays them all, each at a loopback address of its own.

`kinds` says how many there are of each. *live* ones take mail; *slow* ones too, but greet late; *silent* ones are
there and never answer a connection; where there is nobody, connections are refused. It prints `READY`, then, when the
live ones have taken so many messages, the monotonic time of the last, and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket
import sys
import time
from typing import cast

import uvloop

from tests.bench.town import KINDS, address

SLOW_S = 10.0  # until a slow host greets
BACKLOG = 100
MOST_S = 1800  # no drain takes longer


class Host(asyncio.Protocol):
    """One connection to a live or slow host: takes everything, as fast as it can."""

    def __init__(self, taken: Taken | None) -> None:
        self._taken = taken
        self._rest = b""
        self._in_text = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, sooner or later."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        if self._taken is not None:
            self._greet()
        else:
            asyncio.get_running_loop().call_later(SLOW_S, self._greet)

    def _greet(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"220 host.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer every command and every text."""
        self._rest += data
        answers = b""
        while True:
            mark = b"\r\n.\r\n" if self._in_text else b"\r\n"
            end = self._rest.find(mark)
            if end < 0:
                break
            line, self._rest = self._rest[:end], self._rest[end + len(mark) :]
            answers += self._answer(line)
        if answers:
            self._transport.write(answers)

    def _answer(self, line: bytes) -> bytes:
        if self._in_text:
            self._in_text = False
            if self._taken is not None:
                self._taken.one()
            return b"250 2.0.0 Taken\r\n"
        verb = line[:4].upper()
        if verb == b"EHLO":
            return b"250-host.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n"
        if verb == b"DATA":
            self._in_text = True
            return b"354 Go on\r\n"
        return b"221 2.0.0 Bye\r\n" if verb == b"QUIT" else b"250 2.0.0 Ok\r\n"


class Taken:
    """Counts the messages that live hosts have taken, until there are so many."""

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.all = asyncio.Event()

    def one(self) -> None:
        """One more."""
        self._left -= 1
        if not self._left:
            self.all.set()


def _silent(ip: str, port: int) -> list[socket.socket]:
    """A host that lets connections time out: its queue of them is full, so that the kernel drops what asks for more."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ip, port))
    listener.listen(0)
    stuffing = [socket.socket() for _ in range(4)]
    for one in stuffing:
        one.setblocking(False)
        one.connect_ex((ip, port))
    return [listener, *stuffing]


async def _play(port: int, counts: dict[str, int], messages: int) -> None:
    loop = asyncio.get_running_loop()
    taken = Taken(messages)
    held = [_silent(address("silent", number), port) for number in range(counts["silent"])]
    for kind in ("live", "slow"):
        for number in range(counts[kind]):
            count = taken if kind == "live" else None
            await loop.create_server(lambda count=count: Host(count), address(kind, number), port, backlog=BACKLOG)
    print("READY", flush=True)
    await asyncio.wait_for(taken.all.wait(), MOST_S)
    print(time.monotonic(), flush=True)
    for sock in (sock for group in held for sock in group):
        sock.close()


def main() -> None:
    """Play until the live ones have it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    counts = {kind: getattr(arguments, kind) for kind in KINDS}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_play(arguments.port, counts, arguments.messages))


if __name__ == "__main__":
    sys.exit(main())
