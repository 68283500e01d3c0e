"""Notes that others leave for the status page and the LED: the first boot, an update, a script.

Each file in the folder is of one source; each line is a note, `error: …`, `warning: …` or `info: …`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import get_args

from hw.messages import Level, Note
from hw.part import Report

LOOK_EVERY_S = 30.0
MAX_FILES = 20
MAX_NOTES = 20  # of one file
MAX_OCTETS = 8192
FOLDER = Path("/run/palomar/notes")


class NotesWatch:
    """The part "notes"."""

    name = "notes"

    def __init__(self, folder: Path = FOLDER, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._folder = folder
        self._sleep = sleep

    async def run(self, report: Report) -> None:
        """Look now and then until cancelled."""
        told: tuple[Note, ...] = ()
        while True:
            if (found := tuple(read_notes(self._folder))) != told:
                report(found)
                told = found
            await self._sleep(LOOK_EVERY_S)


def read_notes(folder: Path) -> Iterator[Note]:
    """All notes of the folder, by the files' names."""
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))[:MAX_FILES]
    except OSError:
        return
    for path in files:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_OCTETS).decode("utf-8", "replace")
        except OSError:
            continue
        for line in text.splitlines()[:MAX_NOTES]:
            if line.strip():
                yield _note(path.name, line.strip())


def _note(source: str, line: str) -> Note:
    word, colon, text = line.partition(":")
    for level in get_args(Level):
        if colon and word == level:
            return Note(source=source, level=level, text=text.strip())
    return Note(source=source, level="info", text=line)
