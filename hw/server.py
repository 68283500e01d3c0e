"""The Unix socket of palomar-hw: whoever may connect hears the whole state, and may ask for a few things.

Only root and the user of the mail process get an answer. Everything is bounded: clients, the length of a line, what
waits to be sent, and how often the network can be asked anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from appliance.errors import ProtocolError
from hw.messages import (
    Alive,
    ClientMessage,
    Hello,
    Identify,
    Listeners,
    Refused,
    Renew,
    Role,
    ServerMessage,
    State,
    client_messages,
    encode,
)
from hw.part import Report

log = logging.getLogger(__name__)

MAX_CLIENTS = 16
HELLO_S = 5.0
"""Seconds in which a client must say who it is."""
MAX_UNSENT = 1 << 20
"""Octets that may wait for a client that does not read; it is cut off beyond."""
RENEW_EVERY_S = 2.0
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Wishes(Protocol):
    """What clients can bring about."""

    def mail_alive(self, *, full: bool) -> None:
        """The mail process is well; `full`: it takes no new mail for want of room."""

    def mail_gone(self) -> None:
        """The mail process's connection has ended."""

    def listening(self, ports: tuple[int, ...]) -> None:
        """The mail process listens there."""

    def renew(self, nic: str) -> None:
        """Ask DHCP servers anew; "" is all."""

    def identify(self, seconds: int) -> None:
        """Blink."""


class Server:
    """The part "socket". `state` gives what a new client hears first; `may_connect` judges a peer's user id."""

    name = "socket"

    def __init__(
        self,
        path: Path,
        wishes: Wishes,
        state: Callable[[], State],
        *,
        may_connect: Callable[[int], bool],
        group: int = -1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._wishes = wishes
        self._state = state
        self._may_connect = may_connect
        self._group = group
        self._clock = clock
        self._clients: dict[asyncio.StreamWriter, Role | None] = {}
        self._renewed_at = -RENEW_EVERY_S

    async def run(self, report: Report) -> None:
        """Serve until cancelled."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()
        server = await asyncio.start_unix_server(self._serve, self._path, limit=65_536)
        try:
            if self._group >= 0 and os.geteuid() == 0:
                os.chown(self._path, 0, self._group)
            self._path.chmod(0o660)
            await server.start_serving()
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            for writer in list(self._clients):
                writer.close()

    def broadcast(self, state: State) -> None:
        """Tell every client that has said who it is."""
        line = encode(state)
        for writer, role in list(self._clients.items()):
            if role is not None:
                self._send(writer, line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (refusal := self._refusal(writer)) is not None:
            self._send(writer, encode(refusal))
            writer.close()
            return
        self._clients[writer] = None
        hello = asyncio.get_running_loop().call_later(HELLO_S, self._late, writer)
        try:
            await self._listen(reader, writer)
        except ProtocolError as error:
            self._send(writer, encode(Refused(reason=str(error))))
        except (ConnectionError, TimeoutError) as error:
            log.debug("client: %s", error)
        finally:
            hello.cancel()
            if self._clients.pop(writer, None) == "mail":
                self._wishes.mail_gone()
            writer.close()

    def _refusal(self, writer: asyncio.StreamWriter) -> ServerMessage | None:
        peer: socket.socket = writer.get_extra_info("socket")
        _, uid, _ = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if not self._may_connect(uid):
            log.warning("user %d is not allowed to ask", uid)
            return Refused(reason="not allowed")
        return Refused(reason="too many clients") if len(self._clients) >= MAX_CLIENTS else None

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages = client_messages()
        while data := await reader.read(4096):
            messages.receive(data)
            while (message := messages.next_message()) is not None:
                self._take(message, writer)

    def _take(self, message: ClientMessage, writer: asyncio.StreamWriter) -> None:
        role = self._clients.get(writer)
        if isinstance(message, Hello):
            if role is not None:
                raise ProtocolError("hello was said already")
            self._clients[writer] = message.role
            self._send(writer, encode(self._state()))
        elif role is None:
            raise ProtocolError("say hello first")
        elif isinstance(message, Alive | Listeners) and role != "mail":
            raise ProtocolError("only the mail process can say that")
        else:
            self._grant(message)

    def _grant(self, message: ClientMessage) -> None:
        match message:
            case Alive(full=full):
                self._wishes.mail_alive(full=full)
            case Listeners(ports=ports):
                self._wishes.listening(ports)
            case Identify(seconds=seconds):
                self._wishes.identify(seconds)
            case Renew(nic=nic):
                if self._clock() - self._renewed_at >= RENEW_EVERY_S:
                    self._renewed_at = self._clock()
                    self._wishes.renew(nic)

    def _late(self, writer: asyncio.StreamWriter) -> None:
        if self._clients.get(writer, "command") is None:
            writer.close()

    def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        if writer.transport.get_write_buffer_size() > MAX_UNSENT:
            writer.transport.abort()
            return
        writer.write(line)
