"""Many IMAP connections in IDLE, and how soon they hear of mail: a process of its own, so that it delays nobody.

It prints `READY`, then obeys lines on stdin: `watch SECONDS` notes each EXISTS that comes for so long, and prints as
JSON when which account's connections heard of which number of messages; an empty line or the end of input ends it.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field

WAIT_S = 60
EXISTS = b" EXISTS"


@dataclass(slots=True)
class Idler:
    """One connection; `heard` has the monotonic time at which it was told of each number of messages."""

    sock: socket.socket
    user: str
    rest: bytes = b""
    heard: list[tuple[int, float]] = field(default_factory=list)

    def command(self, line: str, until: bytes) -> bytes:
        """Send a line and read up to a line that begins with `until`."""
        self.sock.sendall(line.encode() + b"\r\n")
        return self.read(until)

    def read(self, until: bytes) -> bytes:
        """Everything up to a line that begins with `until`."""
        got = b"\r\n"
        while not (got.endswith(b"\r\n") and b"\r\n" + until in got):
            data = self.sock.recv(65536)
            if not data:
                raise SystemExit(f"{self.user}: closed by the server: {got!r}")
            got += data
        return got

    def take(self, now: float) -> None:
        """Note what came."""
        data = self.sock.recv(65536)
        if not data:
            raise SystemExit(f"{self.user}: closed by the server in IDLE")
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        for line in lines:
            if line.endswith(EXISTS):
                self.heard.append((int(line.split()[1]), now))


def _idler(arguments: argparse.Namespace, user: str, context: ssl.SSLContext | None) -> Idler:
    sock = socket.create_connection((arguments.host, arguments.port), WAIT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    idler = Idler(context.wrap_socket(sock) if context is not None else sock, user)
    idler.read(b"* OK")
    idler.command(f"a LOGIN {user} {arguments.password}", b"a OK")
    idler.command("b SELECT INBOX", b"b OK")
    idler.command("c IDLE", b"+")
    return idler


def _watch(idlers: list[Idler], seconds: float) -> None:
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for idler in idlers:
            selector.register(idler.sock, selectors.EVENT_READ, idler)
        while (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                key.data.take(time.monotonic())
    heard: dict[str, list[list[tuple[int, float]]]] = {}
    for idler in idlers:
        heard.setdefault(idler.user, []).append(idler.heard)
    print(json.dumps(heard), flush=True)


def _context(tls: bool) -> ssl.SSLContext | None:
    if not tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the server under test signs for itself
    return context


def main() -> None:
    """Connect, then obey."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--users", required=True, help="separated by commas; the connections go round them")
    parser.add_argument("--password", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--tls", action="store_true")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    users = arguments.users.split(",")
    context = _context(arguments.tls)
    idlers = [_idler(arguments, users[n % len(users)], context) for n in range(arguments.connections)]
    print("READY", flush=True)
    for line in sys.stdin:
        verb, _, seconds = line.strip().partition(" ")
        if verb != "watch":
            break
        _watch(idlers, float(seconds))


if __name__ == "__main__":
    main()
