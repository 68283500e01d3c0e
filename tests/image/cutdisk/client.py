"""A plain client of the NBD protocol, for tests: fixed newstyle, one request at a time."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

FUA = 1 << 0  # command flag
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_REQUEST_MAGIC, _REPLY_MAGIC, _OPTION_REPLY = 0x25609513, 0x67446698, 0x3E889045565A9
_OPTION_GO, _ACKNOWLEDGED, _INFO = 7, 1, 3


class NbdClient:
    """One connection. Errors of the server are OSError with its number."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._handle = 0
        self.size = 0
        self._greet()

    def _take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the server has gone")
            data += part
        return bytes(data)

    def _greet(self) -> None:
        magic, option, flags = struct.unpack(">8s8sH", self._take(18))
        assert (magic, option) == (b"NBDMAGIC", b"IHAVEOPT"), "no newstyle server"
        self._socket.sendall(struct.pack(">I", flags & 3))
        payload = struct.pack(">IH", 0, 0)  # the export without a name, no special wishes
        self._socket.sendall(struct.pack(">8sII", b"IHAVEOPT", _OPTION_GO, len(payload)) + payload)
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._take(20))
            body = self._take(length)
            assert magic == _OPTION_REPLY
            if kind == _INFO and struct.unpack_from(">H", body)[0] == 0:
                self.size = struct.unpack_from(">Q", body, 2)[0]
            elif kind == _ACKNOWLEDGED:
                return
            else:
                assert kind == _INFO, f"the server refused: {body!r}"

    def _ask(self, command: int, offset: int, length: int, data: bytes = b"", flags: int = 0) -> None:
        self._handle += 1
        head = struct.pack(">IHHQQI", _REQUEST_MAGIC, flags, command, self._handle, offset, length)
        self._socket.sendall(head + data)

    def _answer(self) -> None:
        magic, error, handle = struct.unpack(">IIQ", self._take(16))
        assert (magic, handle) == (_REPLY_MAGIC, self._handle)
        if error:
            raise OSError(error, "the disk refused")

    def read(self, offset: int, length: int) -> bytes:
        self._ask(_READ, offset, length)
        self._answer()
        return self._take(length)

    def write(self, offset: int, data: bytes, *, fua: bool = False) -> None:
        self._ask(_WRITE, offset, len(data), data, FUA if fua else 0)
        self._answer()

    def begin_write(self, offset: int, data: bytes) -> None:
        """Ask for a write and do not wait for its answer."""
        self._ask(_WRITE, offset, len(data), data)

    def flush(self) -> None:
        self.begin_flush()
        self._answer()

    def begin_flush(self) -> None:
        """Ask for a flush and do not wait for its answer."""
        self._ask(_FLUSH, 0, 0)

    def hang_up(self) -> None:
        """Go away without a word, as one who is killed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
        self._socket.close()
