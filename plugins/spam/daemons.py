"""Filters of other makers that run as daemons: one question over one connection, bounded.

What they answer is a stranger's octets like any other: the number of them is limited, and so is the time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from plugins.spam.protocol_daemon import DaemonError, read_socket

AT_ONCE = 4  # questions to one daemon: each takes a thread or a process there


class Daemon:
    """Where questions go. `problem` says why the last one got no answer."""

    def __init__(self, name: str) -> None:
        """`name` is how people call it."""
        self._name = name
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.problem = ""

    async def ask(
        self, socket: str, pieces: Iterable[bytes], *, seconds: float, most: int, is_whole: Callable[[bytes], bool]
    ) -> bytes:
        """Send all pieces and take the answer, up to `most` octets, within `seconds`.

        It ends where `is_whole` says so, or where the daemon closes. Raises DaemonError.
        """
        where = read_socket(socket)
        assert where is not None  # the settings were checked
        try:
            async with self._turn, asyncio.timeout(seconds):
                return await _exchange(where, pieces, most, is_whole)
        except TimeoutError:
            raise DaemonError(f"no answer within {seconds:g} s") from None
        except OSError as error:
            raise DaemonError(f"{socket}: {error.strerror or error}") from error

    def failed(self, error: DaemonError) -> str:
        """Note that it cannot be asked, for the status; return the reason."""
        self.problem = f"{self._name} cannot be asked: {error}"
        return str(error)


async def _exchange(
    where: tuple[str, int], pieces: Iterable[bytes], most: int, is_whole: Callable[[bytes], bool]
) -> bytes:
    host, port = where
    reader, writer = await (asyncio.open_connection(host, port) if port else asyncio.open_unix_connection(host))
    try:
        # It may answer before the end (too large): what it says then is worth more than the broken pipe.
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        answer = bytearray()
        while len(answer) < most and not is_whole(bytes(answer)):
            try:
                piece = await reader.read(most - len(answer))
            except ConnectionError:
                break  # what came until then may say why
            if not piece:
                break
            answer += piece
        return bytes(answer)
    finally:
        writer.close()
