"""A mail exchanger that takes one message after the other and shows it, or refuses every recipient."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from dataclasses import dataclass, field

TAKE_S = 90.0


@dataclass
class Taken:
    """One message with its envelope."""

    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    message: bytes = b""


class Sink:
    """Listens on a port of the loopback in a thread of its own, one connection at a time, with nothing but 8BITMIME.

    `refuse` is the reply to every RCPT, if there shall be none that is taken.
    """

    def __init__(self, port: int, *, refuse: str = "") -> None:
        self.refused: list[str] = []
        self._refuse = refuse
        self._taken: queue.Queue[Taken] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", port))
        self._connection = self._listener
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sink:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, self._connection):
            with contextlib.suppress(OSError):  # not connected any more
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TAKE_S)

    def take(self, seconds: float = TAKE_S) -> Taken:
        """The next message that was taken; fails after `seconds`."""
        try:
            return self._taken.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no message within {seconds:g} s") from None

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connection = connection
            with connection:
                connection.settimeout(TAKE_S)
                try:
                    self._serve(connection)
                except OSError:
                    continue  # the client has gone; the next one comes

    def _serve(self, connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        say = connection.sendall
        say(b"220 mx.away.test ESMTP\r\n")
        current = Taken()
        while line := lines.readline().decode().rstrip("\r\n"):
            verb, _, argument = line.partition(" ")
            match verb.upper():
                case "EHLO":
                    say(b"250-mx.away.test\r\n250 8BITMIME\r\n")
                case "MAIL":
                    current = Taken(sender=_path(argument))
                    say(b"250 ok\r\n")
                case "RCPT" if self._refuse:
                    self.refused.append(_path(argument))
                    say(f"{self._refuse}\r\n".encode())
                case "RCPT":
                    current.recipients.append(_path(argument))
                    say(b"250 ok\r\n")
                case "DATA":
                    say(b"354 go on\r\n")
                    current.message = b"".join(iter(lambda: _unstuffed(lines.readline()), b""))
                    say(b"250 taken\r\n")
                    self._taken.put(current)
                case "QUIT":
                    say(b"221 bye\r\n")
                    return
                case _:
                    say(b"250 ok\r\n")


def _path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]


def _unstuffed(line: bytes) -> bytes:
    return b"" if line == b".\r\n" else line.removeprefix(b".")
