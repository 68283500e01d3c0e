"""Pure functions on hostile octets, in bounded children of this process: no files, no network, and an end to all of it.

For third-party parsers (PDF, OCR, archives, PGP), which may run for ever, take all memory, or crash. A `Worker` keeps
one child that has imported the function, and that forks for each job (`appliance.workerchild`): on a PC the first job
waits some 150 ms for the imports of a parser, each other one 5 ms for its fork. After a while without a job the child
ends, so that it costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass

from appliance.errors import ApplianceError
from appliance.workerchild import ANSWER, JOB, RAISED, READY, TOO_MUCH

START_S = 60.0  # for the imports: a slow card takes its time
GRACE_S = 2.0  # after a job's own alarm, before the child is killed
IDLE_S = 20.0  # without a job, after which the child ends

_INHERITED = ("PATH", "PYTHONPATH", "LANG")  # of our environment; the rest is none of its business


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one job may take."""

    cpu_s: int = 10
    deadline_s: int = 30  # of wall time, from its start
    memory_octets: int = 256 << 20  # of address space, besides what the interpreter and the imports take
    output_octets: int = 4 << 20
    input_octets: int = 32 << 20


class WorkerError(ApplianceError):
    """A job has not come to its end. `partial` is what it had yielded until then."""

    def __init__(self, text: str, partial: bytes = b"") -> None:
        super().__init__(text)
        self.partial = partial


class Worker:
    """Runs one function, one job at a time. Belongs to one event loop."""

    def __init__(self, function: str, limits: Limits | None = None) -> None:
        """`function` is "module:name" of a generator of octets that takes octets. It must open or import nothing when
        it runs: what it needs is there when its module has been imported.
        """
        self._function = function
        self._limits = limits or Limits()
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None  # of the child before

    async def run(self, octets: bytes) -> bytes:
        """What the function yields for these octets. Raises WorkerError if it raises, dies, or passes a limit."""
        limits = self._limits
        if len(octets) > limits.input_octets:
            raise WorkerError(f"{self._function}: more than {limits.input_octets} octets")
        async with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            try:
                process = await self._started()
                async with asyncio.timeout(limits.deadline_s + GRACE_S):
                    status, result = await _exchange(process, octets, limits.output_octets)
            except (OSError, EOFError, TimeoutError) as error:
                await self._kill()
                raise WorkerError(f"{self._function}: {_why(error)}") from error
            except BaseException:
                await self._kill()
                raise
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._let_go)
        if status:
            raise WorkerError(f"{self._function}: {_meaning(status)}", result)
        return result

    async def close(self) -> None:
        """End the child. A job that runs is cut off."""
        if self._idle is not None:
            self._idle.cancel()
        await self._kill()
        if self._ending is not None:
            await self._ending

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        limits = self._limits
        numbers = (limits.cpu_s, limits.memory_octets, limits.deadline_s, limits.output_octets)
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "appliance.workerchild", self._function, *map(str, numbers)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            start_new_session=True,
        )
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            if await process.stdout.readexactly(1) != READY:
                raise EOFError
        return process

    def _let_go(self) -> None:
        """Let the child end by itself: it waits for its next job, and its input ends."""
        process, self._process = self._process, None
        if process is not None:
            self._ending = asyncio.create_task(_ended(process))

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End a child's input, and wait until it has ended and its pipes are closed."""
    assert process.stdin is not None
    process.stdin.close()
    await process.communicate()


async def _exchange(process: asyncio.subprocess.Process, octets: bytes, most: int) -> tuple[int, bytes]:
    """Send a job and take its answer. Raises EOFError if the child has died."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(JOB.pack(len(octets)))
    process.stdin.write(octets)
    await process.stdin.drain()
    status, size = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
    if size > most:
        raise EOFError
    return status, await process.stdout.readexactly(size)


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "killed at its deadline"
    return "the child has died" if isinstance(error, EOFError) else f"the child cannot be used: {error}"


def _meaning(status: int) -> str:
    if status == TOO_MUCH:
        return "the result is too large"
    if status == RAISED:
        return "it raised an error"
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
