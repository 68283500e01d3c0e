"""tesseract as a bounded child: limits of memory and CPU time before it starts, one thread, no files, and an end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from appliance.errors import ApplianceError
from plugins.spam.ocr.config import OcrConfig

MAX_TEXT = 16_384  # octets of its answer that are taken
_PRLIMIT, _NICE = "/usr/bin/prlimit", "/usr/bin/nice"  # util-linux and coreutils, which every Debian has
# One image is one thread's work: others have mail to bring.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_THREAD_LIMIT": "1"}


class OcrError(ApplianceError):
    """tesseract has not read the image. The text is a sentence."""


async def read_image(image: bytes, config: OcrConfig, seconds: float) -> str:
    """The text in one image, within `seconds` of wall time. Raises OcrError."""
    limits = (
        f"--as={config.memory_mib << 20}", f"--cpu={max(1, int(seconds))}", "--fsize=0", "--core=0", "--nofile=32",
    )  # fmt: skip
    command = (config.program, "stdin", "stdout", "-l", "+".join(config.languages), "--psm", "3")
    try:
        process = await asyncio.create_subprocess_exec(
            *(_PRLIMIT, *limits, _NICE, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise OcrError(f"tesseract cannot be started: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(seconds):
            text = await _exchange(process, image)
            status = await process.wait()
    except TimeoutError:
        raise OcrError(f"tesseract took more than {seconds:.1f} s") from None
    finally:
        await _end(process)
    if status:
        raise OcrError(f"tesseract ended with status {status}")
    return text.decode("utf-8", "replace")


async def _exchange(process: asyncio.subprocess.Process, image: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):  # it may end before it has read all; its status tells
        process.stdin.write(image)
        await process.stdin.drain()
    process.stdin.close()
    text = bytearray()
    while len(text) < MAX_TEXT and (piece := await process.stdout.read(MAX_TEXT)):
        text += piece
    if len(text) >= MAX_TEXT:  # more than anybody reads in an image
        raise OcrError("the image has too much text")
    return bytes(text)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what still runs, and wait until its pipes are closed."""
    if process.returncode is None:
        _kill(process)
    await process.communicate()


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
