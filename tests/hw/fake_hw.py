"""A palomar-hw for tests of its clients: it listens on a Unix socket and says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hw.messages import (
    AddressState,
    Board,
    ClientMessage,
    NicState,
    Note,
    ServerMessage,
    State,
    Storage,
    UplinkState,
    client_messages,
    encode,
)

MODEL = "Raspberry Pi 4 Model B Rev 1.4"


def state(**facts: Any) -> State:
    """A healthy board with one uplink."""
    usual: dict[str, Any] = {
        "board": Board(model=MODEL, family="pi4", memory_mib=4096),
        "nics": (
            NicState(
                name="eth0", mac="dc:a6:32:00:00:01", carrier=True, words="onboard Ethernet, 1000 Mb/s", speed_mbps=1000
            ),
        ),
        "uplinks": (UplinkState(nic="eth0", metric=100, gateway="192.0.2.1", alive=True, active=True),),
        "addresses": (
            AddressState(nic="eth0", address="192.0.2.5/24", source="dhcp"),
            AddressState(nic="eth0", address="169.254.3.4/16", source="link-local"),
        ),
        "dns": ("192.0.2.1",),
        "mdns_name": "palomar.local",
        "time_state": "synced",
        "storage": Storage(kind="sd", name="SD32G", size_bytes=32 << 30, free_bytes=30 << 30),
        "settled": True,
    }
    return State(**{**usual, **facts})


WARNING = Note(source="flaps", level="warning", text="eth0 lost its link 10 times within an hour.")


class FakeHw:
    """Answers each client with `greeting`, and remembers what it said."""

    def __init__(self, greeting: ServerMessage) -> None:
        self.greeting = greeting
        self.heard: list[ClientMessage] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.news = asyncio.Event()

    def say(self, octets: bytes) -> None:
        for writer in self.writers:
            writer.write(octets)

    def tell(self, message: ServerMessage) -> None:
        self.say(encode(message))

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        messages = client_messages()
        writer.write(encode(self.greeting))
        while octets := await reader.read(4096):
            messages.receive(octets)
            while (message := messages.next_message()) is not None:
                self.heard.append(message)
                self.news.set()
        writer.close()


@asynccontextmanager
async def listening(path: Path, greeting: ServerMessage) -> AsyncIterator[FakeHw]:
    fake = FakeHw(greeting)
    server = await asyncio.start_unix_server(fake.serve, path)
    try:
        yield fake
    finally:
        server.close()
        fake.hang_up()
        path.unlink(missing_ok=True)
