"""Filters of other makers that run as daemons: one question over one connection, bounded.

What they answer is a stranger's octets like any other: the number of them is limited, and so is the time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeVar

from appliance.hookspecs import StatusLine
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.protocol_daemon import DaemonError, read_socket

AT_ONCE = 4  # questions to one daemon: each takes a thread or a process there


T = TypeVar("T")


class DaemonConfig(Protocol):
    """What the settings of every daemon say."""

    @property
    def socket(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def max_mib(self) -> int: ...
    @property
    def on_absence(self) -> Literal["accept", "defer"]: ...


class Daemon:
    """Where questions go. `problem` says why the last one got no answer."""

    def __init__(self, name: str, check: str) -> None:
        """`name` is how people call it, `check` how findings do."""
        self._name = name
        self._check = check
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.problem = ""

    async def ask_about(
        self,
        message: Message,
        config: DaemonConfig,
        pieces: Iterable[bytes],
        *,
        most: int,
        is_whole: Callable[[bytes], bool],
        read: Callable[[bytes], T],
    ) -> T | Finding:
        """What the daemon says of a message, as `read` understands it; else the finding that it said nothing, and why.

        `read` raises DaemonError for what is no answer.
        """
        if message.size > config.max_mib << 20:
            return Finding(self._check, "unscanned", text=f"the message has more than {config.max_mib} MiB")
        try:
            told = read(await self.ask(config.socket, pieces, seconds=config.timeout, most=most, is_whole=is_whole))
        except DaemonError as error:
            self.problem = f"{self._name} cannot be asked: {error}"
            absence: Literal["defer", "ignore"] = "defer" if config.on_absence == "defer" else "ignore"
            return Finding(self._check, "unavailable", text=str(error), absence=absence)
        self.problem = ""
        return told

    def status(self) -> list[StatusLine]:
        """That it cannot be asked."""
        return [(self._name, self.problem, "error")] if self.problem else []

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
