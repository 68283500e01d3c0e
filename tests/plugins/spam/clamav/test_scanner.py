"""clamd as it answers, hangs, breaks off and talks nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from plugins.spam.clamav.config import ClamavConfig
from plugins.spam.clamav.protocol_clamd import CHUNK, COMMAND, read_answer, request
from plugins.spam.clamav.scanner import Scanner
from plugins.spam.protocol_daemon import DaemonError, read_socket
from tests.plugins.spam.stranger import MESSAGE, core_with

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Clamd:
    """Reads one stream as clamd does, and answers what it is told to."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.heard = answer, b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(COMMAND)) == COMMAND
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            assert size <= CHUNK
            self.heard += await reader.readexactly(size)
        writer.write(self.answer)
        writer.close()


@contextlib.asynccontextmanager
async def scanner(folder: Path, answer: Answer, **config: Any) -> AsyncIterator[Scanner]:
    server = await asyncio.start_unix_server(answer, folder / "ctl")
    async with server:
        yield Scanner(core_with(folder, "", ClamavConfig(socket=f"unix:{folder}/ctl", **config)))


async def found(one: Scanner, message: Message = MESSAGE) -> tuple[str, str | None, str]:
    (finding,) = await one.score_message(message) or ()
    return finding.result, finding.action, finding.absence


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"stream: OK\0", ("clean", None, "ignore")),
        (b"stream: Eicar-Test-Signature FOUND\0", ("virus", "refuse", "ignore")),
        (b"stream: Eicar-Test-Signature FOUND\n", ("virus", "refuse", "ignore")),
        (b"INSTREAM size limit exceeded. ERROR\0", ("unavailable", None, "defer")),
        (b"", ("unavailable", None, "defer")),
        (b"x" * 100_000, ("unavailable", None, "defer")),
    ],
)
async def test_what_clamd_says(tmp_path: Path, answer: bytes, result: tuple[str, str | None, str]) -> None:
    clamd = Clamd(answer)
    async with scanner(tmp_path, clamd) as one:
        assert await found(one) == result
        assert bool(one.status(one._core)) == (result[0] == "unavailable")
    assert clamd.heard == bytes(MESSAGE)


async def test_a_large_message_goes_in_chunks(tmp_path: Path) -> None:
    message = Message.parse(b"A: b\r\n\r\n" + b"line of text\r\n" * 50_000)
    clamd = Clamd(b"stream: OK\0")
    async with scanner(tmp_path, clamd) as one:
        assert (await found(one, message))[0] == "clean"
    assert clamd.heard == bytes(message)
    async with scanner(tmp_path, clamd, max_mib=1) as one:
        assert (await found(one, Message.parse(b"A: b\r\n\r\n" + b"x" * (2 << 20))))[0] == "unscanned"


async def test_an_answer_before_the_end_is_heard(tmp_path: Path) -> None:
    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        writer.close()

    message = Message.parse(b"A: b\r\n\r\n" + b"line of text\r\n" * 200_000)
    async with scanner(tmp_path, impatient) as one:
        assert (await found(one, message))[0] == "unavailable"


@pytest.mark.parametrize("absence", ["defer", "accept"])
async def test_clamd_that_hangs_or_is_not_there(tmp_path: Path, absence: str) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    wanted = ("unavailable", None, "defer" if absence == "defer" else "ignore")
    async with scanner(tmp_path, hang, timeout=1.0, on_absence=absence) as one:
        assert await found(one) == wanted
    gone = Scanner(core_with(tmp_path, "", ClamavConfig(socket=f"unix:{tmp_path}/nowhere", on_absence=absence)))
    assert await found(gone) == wanted
    ((_, words, level),) = gone.status(gone._core)
    assert "No such file" in words
    assert level == "error"


@pytest.mark.parametrize(
    ("socket", "where"),
    [("unix:/run/x", ("/run/x", 0)), ("192.0.2.5:3310", ("192.0.2.5", 3310)), ("[::1]:1", ("::1", 1)), ("unix:x", None),
     ("192.0.2.5", None), ("a:0", None)],
)  # fmt: skip
def test_where_clamd_is(socket: str, where: tuple[str, int] | None) -> None:
    assert read_socket(socket) == where
    assert bool(list(ClamavConfig(socket=socket).problems())) == (where is None)


@given(st.binary(max_size=100))
def test_any_answer_is_read_or_refused(answer: bytes) -> None:
    with contextlib.suppress(DaemonError):
        assert read_answer(answer).isprintable()


@given(st.binary(max_size=300_000))
def test_chunks_make_the_message(text: bytes) -> None:
    command, *pieces = request(Message(b"A: b\r\n\r\n", text))
    assert command == COMMAND
    assert pieces[-1] == b"\0\0\0\0"
    assert b"".join(piece[4:] for piece in pieces[:-1]) == b"A: b\r\n\r\n" + text
    assert all(int.from_bytes(piece[:4], "big") == len(piece) - 4 for piece in pieces[:-1])
