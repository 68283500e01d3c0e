"""The thread that makes large texts durable before their rows are written, beside the commit of the group before."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from appliance.store.segments import Segments
from appliance.store.writer import Job

log = logging.getLogger(__name__)


class Syncer:
    """Takes jobs with large texts, syncs what they wrote, and hands them on to the writer.

    One sync serves all that came during the one before. The writer looks again at what is durable, so nothing is
    committed that this thread could not sync.
    """

    def __init__(self, segments: Segments, hand_on: Callable[[Sequence[Job]], None]) -> None:
        self._segments = segments
        self._hand_on = hand_on
        self._queue: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="store-syncer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, jobs: Sequence[Job]) -> None:
        """Hand over jobs, from any thread."""
        self._queue.put(jobs)

    def stop(self) -> None:
        """Hand on what waits, and end the thread. The writer must still run."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        stopping = False
        while not stopping:
            jobs: list[Job] = []
            more = self._queue.get()
            while True:
                if more is None:
                    stopping = True
                    break
                jobs += more
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
            if jobs:
                self._sync(jobs)

    def _sync(self, jobs: list[Job]) -> None:
        try:
            self._segments.sync([one.body.extent for job in jobs for one in job.bodies if one.body.extent is not None])
        except Exception:
            log.exception("large texts could not be synced ahead of their commit")  # the writer tries itself
        self._hand_on(jobs)
