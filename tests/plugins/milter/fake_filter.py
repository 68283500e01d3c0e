"""A filter in this process that answers by a script, and notes what it was told."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from plugins.milter.config import MilterFilter
from plugins.milter.protocol import ALL_ACTS, packet

Answers = Mapping[bytes, bytes | Callable[[bytes], bytes | None] | None]
SILENT = frozenset(b"DAQK")


@dataclass
class FakeFilter:
    """`answers` maps a command's letter to what is sent for it; None closes, b"" is silence; else it goes on."""

    answers: Answers = field(default_factory=dict)
    skips: int = 0
    version: int = 6
    macros: bytes = b""
    heard: list[tuple[bytes, bytes]] = field(default_factory=list)
    macros_heard: dict[bytes, dict[str, str]] = field(default_factory=dict)
    sessions: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def settings(self, **more: object) -> MilterFilter:
        """How the appliance is told of it."""
        return MilterFilter(socket=f"127.0.0.1:{self.port}", **more)  # type: ignore[arg-type]

    @property
    def commands(self) -> str:
        """The letters heard, macros left out."""
        return b"".join(letter for letter, _ in self.heard if letter != b"D").decode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        self.sessions += 1
        try:
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                data = await reader.readexactly(length)
                answer = self._answer(data[:1], data[1:])
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()

    def _answer(self, letter: bytes, data: bytes) -> bytes | None:
        self.heard.append((letter, data))
        if letter == b"O":
            return packet(b"O", struct.pack(">III", self.version, ALL_ACTS, self.skips) + self.macros)
        if letter == b"D":
            texts = data[1:].decode().split("\0")[:-1]
            self.macros_heard.setdefault(data[:1], {}).update(zip(texts[::2], texts[1::2], strict=True))
        if letter[0] in SILENT:
            return b""
        answer = self.answers.get(letter, packet(b"c"))
        return answer(data) if callable(answer) else answer


@asynccontextmanager
async def running(fake: FakeFilter) -> AsyncIterator[FakeFilter]:
    """The filter on a port of its own."""
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    async with server:
        yield fake
