"""The two ways in which a command reaches the appliance: its control socket, or the store itself while none runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from appliance.control import MAX_FRAME, SOCKET_NAME, Call, CallError, Items, decode, failure, find, reachable
from appliance.core import Core
from appliance.errors import ApplianceError, ConfigError
from appliance.flusher import Flusher

ANSWER_S = 600.0  # how long a command waits for the next line of its answer


class Control(Protocol):
    """What a command works with: the running appliance, or the store itself while none runs."""

    def call(self, name: str, items: Iterable[Any] | None = None, /, **arguments: Any) -> Any:
        """Ask for an operation and return its result. Raises CallError."""

    def stream(self, name: str, /, **arguments: Any) -> Iterator[Any]:
        """Ask for an operation that answers piece by piece. Raises CallError."""

    def close(self) -> None:
        """Let go of the appliance, or of the store."""


class SocketControl:
    """Calls through the control socket of the running appliance."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")

    @classmethod
    def connect(cls, folder: Path) -> SocketControl | None:
        """Connect, or return None when nobody listens there."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(ANSWER_S)
            with reachable(folder / SOCKET_NAME) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except PermissionError:
            connection.close()
            raise CallError(
                f"no access to {folder / SOCKET_NAME}", remedy="Run the command as root or as the appliance's user."
            ) from None
        return cls(connection)

    def call(self, name: str, items: Iterable[Any] | None = None, /, **arguments: Any) -> Any:
        """See Control."""
        self._ask(name, arguments)
        if items is not None:
            # An error that comes in the middle closes the socket; its line is still there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for item in items:
                    self._write({"item": item})
                self._write({"end": True})
        while "result" not in (frame := self._read()):
            continue
        return frame["result"]

    def stream(self, name: str, /, **arguments: Any) -> Iterator[Any]:
        """See Control."""
        self._ask(name, arguments)
        while "item" in (frame := self._read()):
            yield frame["item"]

    def close(self) -> None:
        """See Control."""
        self._lines.close()
        self._connection.close()

    def _ask(self, name: str, arguments: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # _read tells why
            self._write({"call": name, "args": arguments})

    def _write(self, frame: dict[str, Any]) -> None:
        self._connection.sendall(msgspec.json.encode(frame) + b"\n")

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline(MAX_FRAME)
        except TimeoutError:
            raise CallError("the appliance does not answer", remedy="Look into its log; restart it.") from None
        except ConnectionResetError:
            line = b""
        if not line.endswith(b"\n"):
            raise CallError("the appliance closed the control socket", remedy="Look into its log.")
        frame = decode(line)
        if "error" in frame:
            error = frame["error"]
            raise CallError(error["text"], remedy=error["remedy"], kind=error["type"])
        return frame


class DirectControl:
    """The same calls in this process, on a store that nobody else holds."""

    def __init__(
        self,
        calls: Callable[[Core], Mapping[str, Call]],
        opening: contextlib.AbstractAsyncContextManager[Core],
        learnt: Callable[[Core, str], Sequence[Flusher]] = lambda *_: (),
    ) -> None:
        """`calls` is asked once the core is there: plugins may bring some.

        `learnt` tells what a call needs read before it; it is written down at the end.
        """
        self._learnt = learnt
        self._flushers: Sequence[Flusher] = ()
        self._runner = asyncio.Runner()
        self._opening = opening
        try:
            self._core = self._runner.run(opening.__aenter__())
            self._calls = calls(self._core)
        except BaseException:
            self._runner.close()
            raise

    def call(self, name: str, items: Iterable[Any] | None = None, /, **arguments: Any) -> Any:
        """See Control."""
        self._prepare(name)
        outcome = find(self._calls, name).start(self._core, _asynchronous(items or ()), arguments)
        with _as_call_error():
            return _plain(self._runner.run(outcome))

    def stream(self, name: str, /, **arguments: Any) -> Iterator[Any]:
        """See Control."""
        self._prepare(name)
        outcome = find(self._calls, name).start(self._core, _asynchronous(()), arguments)
        ended = object()
        try:
            with _as_call_error():
                while (item := self._runner.run(anext(outcome, ended))) is not ended:
                    yield _plain(item)
        finally:
            self._runner.run(outcome.aclose())

    def close(self) -> None:
        """See Control."""
        try:
            self._runner.run(self._end())
        finally:
            self._runner.close()

    def _prepare(self, name: str) -> None:
        if self._flushers or not (found := self._learnt(self._core, name)):
            return
        for one in found:
            self._runner.run(_awaited(one.load))
        self._flushers = found

    async def _end(self) -> None:
        try:
            if self._flushers:
                await self._core.dispatch.settle()  # notifications may teach something
            for one in self._flushers:
                await one.flush()
        finally:
            await self._opening.__aexit__(None, None, None)


async def _awaited(load: Callable[[], Awaitable[None]]) -> None:
    await load()


async def _asynchronous(items: Iterable[Any]) -> Items:
    for item in items:
        yield _plain(item)


def _plain(value: Any) -> Any:
    """The value as it would come out of the socket, so that both ways give the same."""
    return msgspec.json.decode(msgspec.json.encode(value))


@contextlib.contextmanager
def _as_call_error() -> Iterator[None]:
    try:
        yield
    except (CallError, ConfigError):
        raise
    except ApplianceError as error:
        told = failure(error)
        raise CallError(told["text"], remedy=told["remedy"], kind=told["type"]) from error
