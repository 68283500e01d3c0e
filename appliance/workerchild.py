"""The child of `appliance.worker`: `python -m appliance.workerchild MODULE:FUNCTION CPU_S MEMORY ALARM_S OUTPUT`.

It imports the function, says so by one octet, and then forks for each job: what runs on a stranger's octets has never
seen another's, and starts in a millisecond. A job gets its limits before it sees its first octet. It can open nothing:
no descriptor is left to it, so that there are no files and no network for it, whatever it does.

A job is its length in 8 octets, and its octets. An answer is one octet (what `os.waitstatus_to_exitcode` says, 0 for
success), the length of the result in 4 octets, and as much of the result as there was.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterable

READY = b"\1"
JOB = struct.Struct(">Q")
ANSWER = struct.Struct(">bI")
TOO_MUCH = 100  # instead of an exit status: there was more result than is allowed
RAISED = 101  # the exit status of a job whose function raised
CHUNK = 1 << 16
NOBODY = 65534  # the user and group who own nothing

Function = Callable[[bytes], Iterable[bytes]]


def main(name: str, cpu_s: int, memory: int, alarm_s: int, output: int) -> None:
    """Serve jobs from standard input until it ends."""
    _yield_to_others()
    module, _, attribute = name.partition(":")
    function: Function = getattr(importlib.import_module(module), attribute)
    gc.freeze()  # pages that no collection touches stay shared with the jobs
    source, sink = sys.stdin.fileno(), sys.stdout.fileno()
    _write(sink, READY)
    while head := _read(source, JOB.size):
        octets = _read(source, JOB.unpack(head)[0])
        status, result = _run(lambda octets=octets: function(octets), cpu_s, memory, alarm_s, output)  # type: ignore[misc]
        _write(sink, ANSWER.pack(status, len(result)) + result)


def _yield_to_others() -> None:
    """Mail comes first; and if memory runs out, it is this process that goes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not allowed everywhere, and not needed
        os.nice(10)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _run(job: Callable[[], Iterable[bytes]], cpu_s: int, memory: int, alarm_s: int, output: int) -> tuple[int, bytes]:
    """The status and the result of one job, which is over then."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_job(job, theirs, cpu_s, memory, alarm_s)
    os.close(theirs)
    result = bytearray()
    while len(result) <= output and (piece := os.read(ours, CHUNK)):
        result += piece
    too_much = len(result) > output
    if too_much:
        os.kill(child, signal.SIGKILL)
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return TOO_MUCH if too_much else status, bytes(result[:output])


def _be_the_job(job: Callable[[], Iterable[bytes]], sink: int, cpu_s: int, memory: int, alarm_s: int) -> None:
    """Run the function, and never return. What it has yielded is kept even if it dies then."""
    status = RAISED
    try:
        _confine(sink, cpu_s, memory, alarm_s)
        for piece in job():
            _write(sink, piece)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the status tells it
        status = RAISED
    finally:
        os._exit(status)


def _confine(keep: int, cpu_s: int, memory: int, alarm_s: int) -> None:
    """Take away whatever a pure function can do without. Raises OSError: then it must not run."""
    os.closerange(0, keep)
    os.closerange(keep + 1, keep + 64)
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[0])
    if os.geteuid() == 0:  # no limit below binds root
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    address_space = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))  # SIGXCPU at first, which says why
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        resource.setrlimit(what, (0, 0))
    signal.alarm(alarm_s)


def _read(source: int, count: int) -> bytes:
    """So many octets; fewer, and then none, at the end."""
    octets = bytearray()
    while len(octets) < count and (piece := os.read(source, min(count - len(octets), 1 << 20))):
        octets += piece
    return bytes(octets)


def _write(sink: int, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(sink, rest) :]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))
