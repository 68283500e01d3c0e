"""palomar-hw's socket: who may say what, and how much."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from hw.messages import (
    MAX_CLIENT_LINE,
    Alive,
    Board,
    Hello,
    Identify,
    Listeners,
    Refused,
    Renew,
    ServerMessage,
    State,
    encode,
    server_messages,
)
from hw.server import MAX_CLIENTS, Server


@dataclass
class Heard:
    """Writes down what clients want."""

    calls: list[object] = field(default_factory=list)
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def _say(self, what: object) -> None:
        self.calls.append(what)
        self.event.set()

    def mail_alive(self, *, full: bool) -> None:
        self._say("full" if full else "alive")

    def mail_gone(self) -> None:
        self._say("gone")

    def listening(self, ports: tuple[int, ...]) -> None:
        self._say(ports)

    def renew(self, nic: str) -> None:
        self._say(f"renew {nic}")

    def identify(self, seconds: int) -> None:
        self._say(seconds)

    async def until(self, count: int) -> list[object]:
        while len(self.calls) < count:
            self.event.clear()
            await asyncio.wait_for(self.event.wait(), 60)
        return self.calls


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._messages = server_messages()

    async def next(self) -> ServerMessage | None:
        while (message := self._messages.next_message()) is None:
            data = await asyncio.wait_for(self.reader.read(65536), 60)
            if not data:
                return None
            self._messages.receive(data)
        return message


@contextlib.asynccontextmanager
async def serving(path: Path, heard: Heard, *, allowed: bool = True) -> AsyncIterator[Server]:
    state = State(board=Board(model="a board"))
    server = Server(path, heard, lambda: state, may_connect=lambda _: allowed, clock=lambda: 0.0)
    task = asyncio.create_task(server.run(lambda _: None))
    while not path.exists():
        await asyncio.sleep(0)
    yield server
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def connect(path: Path, *messages: bytes) -> Client:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"".join(messages))
    return Client(reader, writer)


async def test_mail_is_told_and_heard(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "hw.sock"
    async with serving(path, heard) as server:
        client = await connect(path, encode(Hello(role="mail")), encode(Alive()), encode(Listeners(ports=(25, 993))))
        assert await client.next() == State(board=Board(model="a board"))
        assert await heard.until(2) == ["alive", (25, 993)]
        client.writer.write(encode(Alive(full=True)))
        assert (await heard.until(3))[-1] == "full"
        other = State(board=Board(model="another"))
        server.broadcast(other)
        assert await client.next() == other
        client.writer.close()
        assert (await heard.until(4))[-1] == "gone"


async def test_commands_may_ask_but_not_speak_for_mail(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "hw.sock"
    async with serving(path, heard):
        hello = encode(Hello(role="command"))
        client = await connect(path, hello, encode(Identify(seconds=3)), encode(Renew(nic="eth0")), encode(Renew()))
        await client.next()
        assert await heard.until(2) == [3, "renew eth0"]
        client.writer.write(encode(Alive()))
        assert isinstance(await client.next(), Refused)
        assert await client.next() is None
        assert heard.calls == [3, "renew eth0"]  # the second Renew came too soon


async def test_who_is_not_allowed_hears_nothing(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "hw.sock"
    async with serving(path, heard, allowed=False):
        client = await connect(path, encode(Hello(role="mail")), encode(Alive()))
        assert await client.next() == Refused(reason="not allowed")
        assert heard.calls == []


async def test_nonsense_ends_the_connection_and_no_other(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "hw.sock"
    async with serving(path, heard):
        good = await connect(path, encode(Hello(role="mail")))
        await good.next()
        for nonsense in (encode(Alive()), b"{}\n", b"x" * (MAX_CLIENT_LINE + 1), b"\xff\n"):
            client = await connect(path, nonsense)
            assert isinstance(await client.next(), Refused)
            assert await client.next() is None
        good.writer.write(encode(Alive()))
        assert await heard.until(1) == ["alive"]


async def test_there_is_a_limit_of_clients(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "hw.sock"
    async with serving(path, heard):
        clients = [await connect(path, encode(Hello(role="command"))) for _ in range(MAX_CLIENTS)]
        for client in clients:
            assert isinstance(await client.next(), State)
        extra = await connect(path, encode(Hello(role="command")))
        assert await extra.next() == Refused(reason="too many clients")
