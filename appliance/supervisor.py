"""Start services in order, restart those that fail with growing pauses, stop them in reverse order.

The order is that of the list, moved only where a service's `after` asks for it; names that are not there are ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from appliance.errors import ConfigError, PluginError
from appliance.notify import Notifier

if TYPE_CHECKING:
    from appliance.hookspecs import Service

log = logging.getLogger(__name__)

READY_S = 60.0  # for a service to call ready() at start-up
STOP_S = 30.0  # for a service to end; listeners use their own, shorter grace for sessions
FIRST_PAUSE_S = 1.0  # before the first restart; doubles
LONGEST_PAUSE_S = 60.0
HEALTHY_S = 300.0  # after that long a new failure counts as the first again
EXIT_FAILED = 1

Sleep = Callable[[float], Awaitable[None]]


class Supervisor:
    """Runs services until it is cancelled or told to stop.

    `clock` gives growing seconds and `sleep` waits them: for tests.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        notifier: Notifier | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Raises PluginError when two services have one name or wait for each other."""
        self._services = in_order(services)
        self._notifier = notifier or Notifier({})
        self._clock = clock
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._callbacks: list[Callable[[], bool | None]] = []
        self._stop = asyncio.Event()
        self._status = 0
        self._reload_wanted = False
        self._reload_task: asyncio.Task[None] | None = None
        self.failures: dict[str, int] = {}
        """Failures in a row by service; only those that have failed."""

    async def run(self) -> int:
        """Run until `stop` or cancellation, and return the exit status: 0, or 1 when the start failed.

        A ConfigError that a service raises at start-up stops the rest and passes on.
        """
        watchdog = None
        try:
            with _hangup_calls(self.reload_soon):
                if not await self._start():
                    return EXIT_FAILED
                gc.collect()
                gc.freeze()  # what start-up made stays: no need to walk it at every collection
                self._notifier.ready()
                watchdog = asyncio.create_task(self._watchdog())
                await self._stop.wait()
        except asyncio.CancelledError:
            log.info("stopping")
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        finally:
            if watchdog is not None:
                watchdog.cancel()
            self._notifier.stopping()
            await self._stop_all()
        return self._status

    def stop(self, status: int = 0) -> None:
        """Stop all services; `run` returns `status`."""
        self._status = status
        self._stop.set()

    def on_reload(self, callback: Callable[[], bool | None]) -> None:
        """Call this first on reload. If it returns False the services are left alone."""
        self._callbacks.append(callback)

    def reload_soon(self) -> None:
        """Reload from a callback (SIGHUP). Calls during a reload make for one more."""
        self._reload_wanted = True
        if self._reload_task is None or self._reload_task.done():
            self._reload_task = asyncio.get_running_loop().create_task(self._reload_while_wanted())

    async def reload(self) -> bool:
        """Let callbacks and then every running service take over changed settings. False if a callback refused."""
        self._notifier.reloading()
        try:
            if not self._callbacks_agree():
                return False
            for service in self._services:
                try:
                    await service.reload()
                except Exception:
                    log.exception("service %s could not reload", service.name)
            log.info("reloaded")
            return True
        finally:
            self._notifier.ready()

    def _callbacks_agree(self) -> bool:
        try:
            return all(callback() is not False for callback in self._callbacks)
        except Exception:
            log.exception("not reloaded")
            return False

    async def _reload_while_wanted(self) -> None:
        while self._reload_wanted:
            self._reload_wanted = False
            await self.reload()

    # ── starting ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self) -> bool:
        for service in self._services:
            ready = asyncio.Event()
            task = asyncio.create_task(self._keep(service, ready), name=f"service {service.name}")
            self._tasks[service.name] = task
            deadline = asyncio.ensure_future(self._sleep(READY_S))
            waits = {task, deadline, asyncio.create_task(ready.wait()), asyncio.create_task(self._stop.wait())}
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits - {task}:
                    wait.cancel()
            if task.done():
                error = task.exception()
                if isinstance(error, ConfigError):
                    raise error
                log.error("service %s failed at start-up", service.name, exc_info=error)
                return False
            if self._stop.is_set():
                return True
            if not ready.is_set():
                log.error("service %s was not ready within %.0f s", service.name, READY_S)
                return False
        return True

    async def _keep(self, service: Service, ready: asyncio.Event) -> None:
        """Run one service for ever. A failure before it was ready for the first time is raised."""
        pause = FIRST_PAUSE_S
        while True:
            started = self._clock()
            try:
                await service.run(ready.set)
                raise PluginError(f"service {service.name} ended by itself")
            except Exception as error:
                if not ready.is_set():
                    raise
                if self._clock() - started >= HEALTHY_S:
                    pause = FIRST_PAUSE_S
                    self.failures.pop(service.name, None)
                self.failures[service.name] = self.failures.get(service.name, 0) + 1
                log.error("service %s failed; again in %.0f s", service.name, pause, exc_info=error)
            await self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _watchdog(self) -> None:
        period = self._notifier.watchdog_s / 2
        while period:
            self._notifier.alive()
            await self._sleep(period)

    # ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _stop_all(self) -> None:
        if self._reload_task is not None:
            self._reload_task.cancel()
        running = [service for service in reversed(self._services) if service.name in self._tasks]
        for service in running:
            # Listeners stop accepting and warn their sessions now, so that all grace times run side by side.
            begin_stop = getattr(service, "begin_stop", None)
            if begin_stop is not None:
                begin_stop()
        for service in running:
            await self._end(service.name, self._tasks.pop(service.name))

    async def _end(self, name: str, task: asyncio.Task[None]) -> None:
        task.cancel()
        deadline = asyncio.ensure_future(self._sleep(STOP_S))
        try:
            await asyncio.wait({task, deadline}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            deadline.cancel()
        if not task.done():
            log.error("service %s did not end within %.0f s", name, STOP_S)
        elif not task.cancelled() and (error := task.exception()) and not isinstance(error, ConfigError):
            log.error("service %s failed while it stopped", name, exc_info=error)


def in_order(services: Sequence[Service]) -> list[Service]:
    """The order of the list, each service behind those it names in `after`. Raises PluginError on a circle."""
    by_name: dict[str, Service] = {}
    for service in services:
        if service.name in by_name:
            raise PluginError(f"two services are named {service.name!r}")
        by_name[service.name] = service
    ordered: list[Service] = []
    open_names: list[str] = []

    def place(service: Service) -> None:
        if service in ordered:
            return
        if service.name in open_names:
            raise PluginError(f"services wait for each other: {' → '.join([*open_names, service.name])}")
        open_names.append(service.name)
        for name in service.after:
            if name in by_name:
                place(by_name[name])
        open_names.pop()
        ordered.append(service)

    for service in services:
        place(service)
    return ordered


@contextlib.contextmanager
def _hangup_calls(callback: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, callback)
    except (ValueError, RuntimeError):  # not the main thread: signals are not ours
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # `loop.run` keeps it back until now
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        loop.remove_signal_handler(signal.SIGHUP)
