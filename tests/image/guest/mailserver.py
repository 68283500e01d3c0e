"""A mail server as simple as can be: `python mailserver.py FOLDER` takes every message on port 25 into a file."""

from __future__ import annotations

import socketserver
import sys
import uuid
from pathlib import Path


class Session(socketserver.StreamRequestHandler):
    """One connection; no extensions."""

    def handle(self) -> None:
        """Answer until QUIT."""
        self.wfile.write(b"220 mx.elsewhere.example\r\n")
        while line := self.rfile.readline(1024):
            verb = line[:4].upper()
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self._take()
            self.wfile.write(b"250 fine\r\n")

    def _take(self) -> None:
        text = b""
        while (line := self.rfile.readline(1024)) not in {b"", b".\r\n"}:
            text += line
        if line:
            folder = Path(sys.argv[1])
            fresh = folder / ".new"
            fresh.write_bytes(text)
            fresh.rename(folder / uuid.uuid4().hex)


if __name__ == "__main__":
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("", 25), Session) as server:
        server.serve_forever()
