"""Where a message waits while it arrives: in memory while it is small, then in a file without a name."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import ClassVar

from appliance.errors import StoreFullError
from appliance.mail.message import Message

IN_MEMORY = 256 * 1024  # octets that any message may hold in memory: nearly every one without attachments
LARGE_IN_MEMORY = 4 << 20  # octets up to which a message may go on in memory while the shared room lasts
SHARED_ROOM = 16 << 20  # octets beyond IN_MEMORY that all messages together may hold in memory


class Spool:
    """Collects the chunks of one message. Nothing of it is left on the disk after `close`, nor after a crash."""

    __slots__ = ("_borrowed", "_chunks", "_file", "_folder", "_in_memory", "_map", "size")

    shared_room: ClassVar[int] = SHARED_ROOM  # what is left of it

    def __init__(self, folder: Path, *, in_memory: int = IN_MEMORY) -> None:
        """`in_memory` octets stay in memory without taking from the shared room; with 0, nothing does at all."""
        self.size = 0  # octets written
        self._folder = folder
        self._in_memory = in_memory
        self._chunks: list[bytes] = []
        self._file: int | None = None
        self._map: mmap.mmap | None = None
        self._borrowed = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises StoreFullError when the disk has no room for them."""
        self.size += len(chunk)
        if self._file is None:
            self._chunks.append(chunk)
            if self.size > self._in_memory and not (self._in_memory and self._borrow(len(chunk))):
                self._to_file()
        else:
            self._append(self._file, chunk)

    def message(self) -> Message:
        """The whole of it as a message. A large one is mapped, so that its pages can be dropped again."""
        if self._file is None:
            return Message.parse(self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks))
        self._map = mmap.mmap(self._file, self.size, access=mmap.ACCESS_READ)
        return Message.parse(self._map)

    def close(self) -> None:
        """Give the room back. Messages made from it must not be used any more."""
        self._chunks.clear()
        self._give_back()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._map = None  # unmapped with the last view of it

    def _borrow(self, octets: int) -> bool:
        """Take room that all messages share; False when this one has had enough, or all of it is taken."""
        if self.size > LARGE_IN_MEMORY or Spool.shared_room < octets:
            return False
        Spool.shared_room -= octets
        self._borrowed += octets
        return True

    def _give_back(self) -> None:
        Spool.shared_room += self._borrowed
        self._borrowed = 0

    def _to_file(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                self._file = os.dup(file.fileno())
        except OSError as error:
            raise StoreFullError(f"no room to receive a large message: {error}") from error
        chunks, self._chunks = self._chunks, []
        self._append(self._file, b"".join(chunks))
        self._give_back()

    @staticmethod
    def _append(file: int, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError as error:
            raise StoreFullError(f"no room to receive a large message: {error}") from error
