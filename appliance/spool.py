"""Where a message waits while it arrives: in memory while it is small, then in a file without a name."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

from appliance.errors import StoreFullError
from appliance.mail.message import Message

IN_MEMORY = 256 * 1024  # octets; more than nearly every message without attachments


class Spool:
    """Collects the chunks of one message. Nothing of it is left on the disk after `close`, nor after a crash."""

    __slots__ = ("_chunks", "_file", "_folder", "_map", "size")

    def __init__(self, folder: Path) -> None:
        self.size = 0  # octets written
        self._folder = folder
        self._chunks: list[bytes] = []
        self._file: int | None = None
        self._map: mmap.mmap | None = None

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises StoreFullError when the disk has no room for them."""
        self.size += len(chunk)
        if self._file is None:
            self._chunks.append(chunk)
            if self.size > IN_MEMORY:
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
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._map = None  # unmapped with the last view of it

    def _to_file(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        try:
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                self._file = os.dup(file.fileno())
        except OSError as error:
            raise StoreFullError(f"no room to receive a large message: {error}") from error
        chunks, self._chunks = self._chunks, []
        self._append(self._file, b"".join(chunks))

    @staticmethod
    def _append(file: int, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError as error:
            raise StoreFullError(f"no room to receive a large message: {error}") from error
