"""The control socket: how commands ask the running appliance, so that one process alone writes the store.

`<data>/control.sock` carries one JSON object per line. A client sends `{"call": "queue.list", "args": {…}}`, and for
calls that take a stream also lines `{"item": …}` closed by `{"end": true}`. The answer is any number of
`{"item": …}` lines and then one of `{"result": …}` or `{"error": {"type": …, "text": …, "remedy": …}}`.
Only root and the user that runs the appliance get an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import socket
import struct
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from appliance.core import Core
from appliance.errors import ApplianceError

SOCKET_NAME = "control.sock"
MAX_FRAME = 1 << 20  # octets of one line; streams are cut into smaller pieces
MAX_CLIENTS = 32
BACKLOG = 16
IDLE_S = 300.0  # a client that neither asks nor takes its answer for so long is dropped
LONGEST_SOCKET_PATH = 100  # octets; sockaddr_un holds 107, the temporary name is a little longer

log = logging.getLogger(__name__)

Items = AsyncIterator[Any]
Handler = Callable[..., Any]  # async def or async generator: (core, *, name: type, …) or (core, items, *, …)


class CallError(ApplianceError):
    """A call was refused. `kind` names the error for programs."""

    def __init__(self, text: str, *, remedy: str = "", kind: str = "CallError") -> None:
        super().__init__(text)
        self.remedy = remedy
        self.kind = kind


class Call:
    """A named operation that commands can ask for. The handler's annotations say which arguments are let in."""

    def __init__(self, name: str, handler: Handler) -> None:
        self.name = name
        self._handler = handler
        parameters = inspect.signature(handler).parameters.values()
        hints = typing.get_type_hints(handler)
        named = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
        self.takes_items = len(parameters) - len(named) > 1
        self._arguments = msgspec.defstruct(
            "Arguments",
            [(p.name, hints[p.name]) if p.default is p.empty else (p.name, hints[p.name], p.default) for p in named],
            kw_only=True,
            forbid_unknown_fields=True,
        )

    def start(self, core: Core, items: Items, arguments: Mapping[str, Any]) -> Any:
        """Return the handler's coroutine or asynchronous generator. Raises CallError for wrong arguments."""
        try:
            checked = msgspec.convert(arguments, self._arguments)
        except msgspec.ValidationError as error:
            raise CallError(f"{self.name}: {error}", kind="ArgumentError") from None
        values = {name: getattr(checked, name) for name in self._arguments.__struct_fields__}
        return self._handler(core, items, **values) if self.takes_items else self._handler(core, **values)


def registry(handlers: Mapping[str, Handler]) -> dict[str, Call]:
    """Make the calls of named handlers."""
    return {name: Call(name, handler) for name, handler in handlers.items()}


def find(calls: Mapping[str, Call], name: object) -> Call:
    """The call of that name. Raises CallError."""
    call = calls.get(name) if isinstance(name, str) else None
    if call is None:
        raise CallError(f"there is no call {name!r}", kind="ArgumentError", remedy="Are both of the same release?")
    return call


def failure(error: ApplianceError) -> dict[str, str]:
    """An error as the socket carries it."""
    if isinstance(error, CallError):
        return {"type": error.kind, "text": str(error), "remedy": error.remedy}
    return {"type": type(error).__name__, "text": str(error), "remedy": error.remedy}


class ControlServer:
    """The service that answers on the control socket. One call at a time per client."""

    name = "control"
    after: Sequence[str] = ()

    def __init__(self, core: Core, calls: Mapping[str, Call], folder: Path) -> None:
        self._core = core
        self._calls = calls
        self._path = folder / SOCKET_NAME
        self._clients: set[asyncio.Task[None]] = set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled; the socket's file goes away then."""
        with _listening(self._path) as listening:
            server = await asyncio.start_unix_server(self._greet, sock=listening, limit=MAX_FRAME)
            try:
                ready()
                await asyncio.Event().wait()
            finally:
                server.close()
                for task in self._clients:
                    task.cancel()
                await asyncio.gather(*self._clients, return_exceptions=True)

    async def reload(self) -> None:
        """Nothing here depends on the configuration."""

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > MAX_CLIENTS:
                log.warning("control: more than %d clients at once, one was turned away", MAX_CLIENTS)
            elif _trusted(writer):
                await self._serve(reader, writer)
        except ConnectionError as error:
            log.info("control: client dropped: %s", error)
        except asyncio.CancelledError:
            log.debug("control: client dropped, shutting down")
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        more = True
        while more:
            try:
                line = await _line(reader)
                more = bool(line) and await self._answer(decode(line), _Upload(reader), writer)
            except ApplianceError as error:
                await _send(writer, {"error": failure(error)})
                return  # what is left of an upload has no meaning any more
            except ConnectionError:
                raise
            except Exception:
                log.exception("control: a call failed")
                text = "the appliance failed at this; its log tells more"
                await _send(writer, {"error": {"type": "InternalError", "text": text, "remedy": ""}})
                return

    async def _answer(self, request: dict[str, Any], upload: _Upload, writer: asyncio.StreamWriter) -> bool:
        """Carry out one call. False: items of its stream are still under way, so no other call can follow."""
        arguments = request.get("args", {})
        if not isinstance(arguments, dict):
            raise CallError("args must be an object", kind="ArgumentError")
        call = find(self._calls, request.get("call"))
        outcome = call.start(self._core, upload.items(), arguments)
        if inspect.isasyncgen(outcome):
            async with contextlib.aclosing(outcome):
                async for item in outcome:
                    await _send(writer, {"item": item})
            await _send(writer, {"result": None})
        else:
            await _send(writer, {"result": await outcome})
        return not call.takes_items or upload.ended


class _Upload:
    """The lines that follow a call which takes a stream."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.ended = False

    async def items(self) -> Items:
        while line := await _line(self._reader):
            frame = decode(line)
            if "item" not in frame:
                self.ended = "end" in frame
                if self.ended:
                    return
                break
            yield frame["item"]
        raise CallError("the stream broke off before its end", kind="ArgumentError")


def decode(line: bytes) -> dict[str, Any]:
    """Read one line of the socket. Raises CallError when it holds no JSON object."""
    try:
        frame = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallError(f"not a line of JSON: {error}", kind="ArgumentError") from None
    if not isinstance(frame, dict):
        raise CallError("not a JSON object", kind="ArgumentError")
    return frame


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, empty at the end. Raises CallError for one above MAX_FRAME, ConnectionError for an idle client."""
    try:
        return await asyncio.wait_for(reader.readline(), IDLE_S)
    except ValueError:
        raise CallError(f"a line passes {MAX_FRAME} octets", kind="ArgumentError") from None
    except TimeoutError:
        raise ConnectionAbortedError(f"nothing came for {IDLE_S:.0f} s") from None


async def _send(writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
    line = msgspec.json.encode(frame)
    if len(line) >= MAX_FRAME:
        raise CallError(f"the answer passes {MAX_FRAME} octets", remedy="Ask for less at once.")
    writer.write(line + b"\n")
    try:
        await asyncio.wait_for(writer.drain(), IDLE_S)
    except TimeoutError:
        raise ConnectionAbortedError(f"took nothing for {IDLE_S:.0f} s") from None


def _trusted(writer: asyncio.StreamWriter) -> bool:
    """Whether root or our own user is at the other end. The kernel says so, not the peer."""
    connection = writer.get_extra_info("socket")
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid in {0, os.geteuid()}:
        return True
    log.warning("control: process %d of user %d was turned away", pid, uid)
    return False


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Listen at `path`, mode 0600 from its first moment, in place of whatever a dead process left there."""
    temporary = path.with_name(f".{SOCKET_NAME}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as listening:
        with reachable(temporary) as address:
            listening.bind(address)
        temporary.chmod(0o600)
        listening.listen(BACKLOG)
        temporary.rename(path)
        inode = path.stat().st_ino
        try:
            yield listening
        finally:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:  # never a successor's
                    path.unlink()


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name of `path` that fits into a socket address, however deep the folder lies."""
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
