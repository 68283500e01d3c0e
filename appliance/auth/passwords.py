"""The threads in which passwords are hashed: two, so that a wave of logins takes 38 MiB and no more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from appliance.auth.credentials import get_ready
from appliance.errors import ApplianceError

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
MAX_WAITING = 100  # logins; at 20 ms each the last one waits a second


class TemporaryAuthError(ApplianceError):
    """A login can be neither accepted nor refused now: SMTP 454, IMAP [UNAVAILABLE], POP3 [SYS/TEMP]."""


class PasswordPool:
    """Runs blocking functions of `credentials` off the event loop."""

    def __init__(self, threads: int = THREADS, max_waiting: int = MAX_WAITING) -> None:
        self._executor = ThreadPoolExecutor(threads, "password")
        self._free = threads + max_waiting

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread. Raises TemporaryAuthError when too many are waiting already."""
        if self._free <= 0:
            raise TemporaryAuthError("Too many logins at once, try again later")
        self._free -= 1
        future = self._executor.submit(function, *args, **kwargs)
        loop = asyncio.get_running_loop()
        # The place is taken until the thread is done, even when the one who asked has gone meanwhile.
        future.add_done_callback(lambda _: _call_soon(loop, self._release))
        return await asyncio.wrap_future(future)

    def get_ready(self) -> None:
        """Have a thread load what hashing needs, without waiting for it."""
        self._executor.submit(get_ready)

    def close(self) -> None:
        """Let running calls finish and drop the waiting ones."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self) -> None:
        self._free += 1


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed while the thread still hashed: nobody counts any more
        loop.call_soon_threadsafe(callback)
