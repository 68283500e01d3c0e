"""The control socket: calls, streams, errors, junk clients, and the same calls without a server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from appliance import control
from appliance.control import CallError, ControlServer, Items, registry
from appliance.controlclient import DirectControl, SocketControl
from appliance.core import Core
from appliance.errors import NotFoundError
from appliance.lock import FolderBusyError, FolderLock


async def add(core: Core, *, first: int, second: int = 2) -> int:
    return first + second


async def count(core: Core, *, to: int) -> AsyncIterator[dict[str, int]]:
    for number in range(to):
        yield {"number": number}


async def total(core: Core, items: Items, *, scale: int) -> int:
    total: int = scale * sum([item async for item in items])
    return total


async def first_only(core: Core, items: Items) -> int:
    async for item in items:
        return int(item)
    return 0


async def missing(core: Core) -> None:
    raise NotFoundError("there is no account zoe@palomar.test")


async def refused(core: Core) -> None:
    raise CallError("no", remedy="Say please.", kind="Manners")


async def broken(core: Core) -> None:
    raise RuntimeError("a bug with a secret in it")


async def endless(core: Core) -> str:
    return "x" * (control.MAX_FRAME + 1)


CALLS = registry(
    {
        "add": add,
        "count": count,
        "total": total,
        "first": first_only,
        "missing": missing,
        "refused": refused,
        "broken": broken,
        "endless": endless,
    }
)
CORE = cast("Core", object())


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[ControlServer]:
    """A control server on a loop of its own in another thread, since the clients block."""
    server = ControlServer(CORE, CALLS, folder)
    ready = threading.Event()
    stop: list[Any] = []

    async def main() -> None:
        task = asyncio.ensure_future(server.run(ready.set))
        stop.append((asyncio.get_running_loop(), task))
        with contextlib.suppress(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=uvloop.run, args=(main(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield server
    finally:
        loop, task = stop[0]
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        assert not thread.is_alive()


@contextlib.asynccontextmanager
async def opening() -> AsyncIterator[Core]:
    yield CORE


@pytest.fixture(params=["socket", "direct"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        if request.param == "socket":
            stack.enter_context(serving(tmp_path))
            client: Any = SocketControl.connect(tmp_path)
        else:
            client = DirectControl(lambda _: CALLS, opening())
        stack.callback(client.close)
        yield client


def test_a_call_gives_its_result(client: Any) -> None:
    assert client.call("add", first=1) == 3
    assert client.call("add", first=1, second=5) == 6


def test_a_stream_gives_its_items(client: Any) -> None:
    assert list(client.stream("count", to=3)) == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert client.call("add", first=1) == 3


def test_a_call_takes_items(client: Any) -> None:
    assert client.call("total", range(1, 1001), scale=2) == 1001000
    assert client.call("add", first=1) == 3


@pytest.mark.parametrize(
    ("call", "arguments", "kind", "words"),
    [
        ("missing", {}, "NotFoundError", "zoe@palomar.test"),
        ("refused", {}, "Manners", "no"),
        ("add", {}, "ArgumentError", "first"),
        ("add", {"first": "one"}, "ArgumentError", "first"),
        ("add", {"first": 1, "third": 1}, "ArgumentError", "third"),
        ("nonsense", {}, "ArgumentError", "nonsense"),
    ],
)
def test_errors_arrive_with_kind_and_words(
    client: Any, call: str, arguments: dict[str, Any], kind: str, words: str
) -> None:
    with pytest.raises(CallError, match=words) as caught:
        client.call(call, **arguments)
    assert caught.value.kind == kind


def test_the_remedy_arrives(client: Any) -> None:
    with pytest.raises(CallError) as caught:
        client.call("refused")
    assert caught.value.remedy == "Say please."


def test_a_bug_is_told_in_the_log_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path):
        client = SocketControl.connect(tmp_path)
        assert client is not None
        with pytest.raises(CallError) as caught:
            client.call("broken")
        client.close()
    assert caught.value.kind == "InternalError"
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


def test_an_answer_above_the_frame_limit_is_an_error(tmp_path: Path) -> None:
    with serving(tmp_path):
        client = SocketControl.connect(tmp_path)
        assert client is not None
        with pytest.raises(CallError, match="answer passes"):
            client.call("endless")
        client.close()


def test_an_error_in_the_middle_of_an_upload_is_told(tmp_path: Path) -> None:
    with serving(tmp_path):
        client = SocketControl.connect(tmp_path)
        assert client is not None
        with pytest.raises(CallError, match="nothing"):
            client.call("nothing", ({"data": "x" * 100_000} for _ in range(100)))
        client.close()
        client = SocketControl.connect(tmp_path)
        assert client is not None
        assert client.call("first", iter([7, *(["x" * 100_000] * 100)])) == 7
        client.close()


JUNK = [
    b"\n",
    b"nonsense\n",
    b"[]\n",
    b"1\n",
    b'{"call": 7}\n',
    b'{"call": ["add"]}\n',
    b'{"call": "add", "args": 1}\n',
    b'{"call": "total", "args": {"scale": 1}}\n{"nothing": 1}\n',
    b'{"call": "total", "args": {"scale": 1}}\n{"item": "x"}\n{"end": true}\n',
    b"\xff\xfe\n",
    b"\0" * 100 + b"\n",
    b"[" * 100_000 + b"\n",
    b"x" * (control.MAX_FRAME + 10),
    b'{"call": "add"',
]


def raw(folder: Path, data: bytes) -> bytes:
    """Send bytes, close our side, and return all that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        with control.reachable(folder / control.SOCKET_NAME) as address:
            connection.connect(address)
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


def test_junk_gets_an_error_and_hurts_nobody(tmp_path: Path) -> None:
    with serving(tmp_path):
        for junk in JUNK:
            answer = raw(tmp_path, junk)
            assert "error" in json.loads(answer), junk[:60]
        assert json.loads(raw(tmp_path, b'{"call": "add", "args": {"first": 1}}\n')) == {"result": 3}


def test_two_calls_in_one_write_are_answered_in_order(tmp_path: Path) -> None:
    with serving(tmp_path):
        line = b'{"call": "add", "args": {"first": %d}}\n'
        answers = raw(tmp_path, line % 1 + line % 2).splitlines()
    assert [json.loads(answer)["result"] for answer in answers] == [3, 4]


def test_items_that_nobody_took_are_no_calls(tmp_path: Path) -> None:
    with serving(tmp_path):
        answers = raw(tmp_path, b'{"call": "first"}\n{"item": 7}\n{"item": 8}\n{"end": true}\n').splitlines()
    assert [json.loads(answer) for answer in answers] == [{"result": 7}]


def test_too_many_clients_are_turned_away_and_the_rest_work(tmp_path: Path) -> None:
    with serving(tmp_path), contextlib.ExitStack() as stack:
        clients = [SocketControl.connect(tmp_path) for _ in range(control.MAX_CLIENTS)]
        for client in clients:
            assert client is not None
            stack.callback(client.close)
            assert client.call("add", first=1) == 3
        assert raw(tmp_path, b'{"call": "add", "args": {"first": 1}}\n') == b""
        assert clients[0] is not None
        assert clients[0].call("add", first=1) == 3


def test_only_the_owner_may_open_the_socket(tmp_path: Path) -> None:
    with serving(tmp_path):
        assert stat.S_IMODE((tmp_path / control.SOCKET_NAME).stat().st_mode) == 0o600
    assert not (tmp_path / control.SOCKET_NAME).exists()


def test_another_user_is_turned_away() -> None:
    class Peer:
        def get_extra_info(self, name: str) -> Peer:
            return self

        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option, size) == (socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return b"".join(n.to_bytes(4, "little") for n in (4711, self.uid, 100))

        uid = os.geteuid() + 1

    peer = Peer()
    assert not control._trusted(cast("Any", peer))
    peer.uid = os.geteuid()
    assert control._trusted(cast("Any", peer))
    peer.uid = 0
    assert control._trusted(cast("Any", peer))


def test_a_dead_process_s_socket_is_taken_over_and_a_successor_s_is_left(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / control.SOCKET_NAME))
    assert SocketControl.connect(tmp_path) is None
    with serving(tmp_path):
        client = SocketControl.connect(tmp_path)
        assert client is not None
        client.close()
        (tmp_path / control.SOCKET_NAME).unlink()
        (tmp_path / control.SOCKET_NAME).write_text("a successor")
    assert (tmp_path / control.SOCKET_NAME).read_text() == "a successor"


def test_a_deep_folder_fits_into_a_socket_address(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    folder.mkdir(parents=True)
    with serving(folder):
        client = SocketControl.connect(folder)
        assert client is not None
        assert client.call("add", first=1) == 3
        client.close()


def test_nobody_listens(tmp_path: Path) -> None:
    assert SocketControl.connect(tmp_path) is None


def test_the_folder_lock_lets_one_in(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with FolderLock.take(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with pytest.raises(FolderBusyError, match=str(os.getpid())) as caught:
            FolderLock.take(folder)
        assert caught.value.pid == os.getpid()
    FolderLock.take(folder).release()


def test_a_full_disk_keeps_nobody_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with FolderLock.take(tmp_path), pytest.raises(FolderBusyError):
        FolderLock.take(tmp_path)
