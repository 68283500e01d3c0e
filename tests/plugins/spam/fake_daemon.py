"""A daemon of another maker as tests want it: it answers, hangs, floods, or breaks off; and waiting for a real one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

PATIENCE_S = 90.0


class FakeDaemon:
    """Answers `answer` to each request once its end is there, and keeps what it heard."""

    def __init__(self, answer: bytes, *, early: bool = False, hang: bool = False, flood: bool = False) -> None:
        self.answer, self.early, self.hang, self.flood, self.heard = answer, early, hang, flood, b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.heard = head if self.early else head + await reader.readexactly(length)
            while self.hang and await reader.read(65536):
                pass
            writer.write(self.answer)
            await writer.drain()
            while self.flood:
                writer.write(self.answer)
                await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self, folder: Path) -> AsyncIterator[str]:
        """The setting that leads there."""
        async with await asyncio.start_unix_server(self, folder / "socket"):
            yield f"unix:{folder}/socket"


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """A real daemon, from when its port answers."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        end = time.monotonic() + PATIENCE_S
        while not _answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
