"""The event loop of the mail process: uvloop, signals, and how long one thread may hold the others up."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

# The store's threads run Python between SQLite calls; with the usual 5 ms each hand-over would delay an answer.
SWITCH_INTERVAL_S = 0.001
# What glibc keeps of freed memory for each thread's next use: by its defaults, portions of messages on their way would
# be taken from the kernel and given back over and over, and each page of them is cleared anew.
KEPT_OCTETS = 2 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells expect


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Run `main` on a new uvloop (asyncio's own loop where uvloop is not installed) and return its exit status.

    The first SIGTERM or SIGINT cancels it, so that it can stop in order; a second SIGINT ends the process at once.
    SIGHUP waits until a supervisor listens for it: before and after that it would end the process on the spot.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _keep_memory()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_with_signals(main))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _keep_memory() -> None:
    with contextlib.suppress(OSError, AttributeError):  # another C library: it has its own ways
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, KEPT_OCTETS)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_OCTETS)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        log.warning("uvloop is not installed; asyncio's own loop serves about half as fast")
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _with_signals(main: Callable[[], Awaitable[int]]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    asked = False

    def stop(number: signal.Signals) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            log.error("interrupted again; ending at once")
            logging.shutdown()
            os._exit(EXIT_INTERRUPTED)  # the store is safe against this; whoever presses twice wants it
        if not asked:
            asked = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        return await main()
    except asyncio.CancelledError:
        if asked:
            return 0  # before anything was started
        raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
