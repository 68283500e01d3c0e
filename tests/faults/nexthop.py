"""A server for the mail that leaves: it takes everything and keeps the octets exactly as they came."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Taken:
    """One message as it stood on the wire: `raw` is all between the 354 and its answer, the final dot included."""

    sender: str
    recipients: list[str]
    raw: bytes

    @property
    def message(self) -> bytes:
        """The message that a correct receiver reads out of it."""
        assert self.raw.endswith(b"\r\n.\r\n")
        lines = self.raw[:-3].split(b"\r\n")
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@dataclass
class NextHop:
    """A mail exchanger on a free port. `answer` gives its reply to each message; what it refuses is not kept."""

    greeting: str = "220 mx.outside.test"
    rcpt: str = "250 2.1.5 Ok"
    answer: Callable[[Taken], str] = lambda _: "250 2.0.0 Ok"
    messages: list[Taken] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        hop = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(self) -> None:
                try:
                    _serve(hop, self.rfile, self.wfile)
                except (OSError, EOFError):
                    return  # the sender has gone, or was killed

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 100

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> NextHop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _text(reader: Any) -> bytes:
    lines = [b"\r\n"]
    while not (lines[-1] == b".\r\n" and lines[-2].endswith(b"\r\n")):
        lines.append(reader.readline())
        if not lines[-1]:
            raise EOFError
    return b"".join(lines[1:])


def _serve(hop: NextHop, reader: Any, writer: Any) -> None:
    """One connection. Only LF ends a line here, so that whatever looks like one to anybody is seen."""

    def say(text: str) -> None:
        writer.write(text.encode() + b"\r\n")

    say(hop.greeting)
    sender, recipients = "", []
    while line := reader.readline():
        hop.commands.append(line)
        verb = line.split(b" ")[0].strip().upper()
        argument = line.decode("utf-8", "surrogateescape").strip()
        if verb == b"EHLO":
            say("250-mx.outside.test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING")
        elif verb == b"MAIL":
            sender, recipients = argument[10:], []
            say("250 2.1.0 Ok")
        elif verb == b"RCPT":
            recipients.append(argument[8:])
            say(hop.rcpt)
        elif verb == b"DATA":
            if not hop.rcpt.startswith("2"):
                say("554 5.5.1 No valid recipients")
                continue
            say("354 Go on")
            taken = Taken(sender, recipients, _text(reader))
            answer = hop.answer(taken)
            if answer.startswith("2"):
                hop.messages.append(taken)
            say(answer)
        elif verb == b"QUIT":
            say("221 2.0.0 Bye")
            return
        else:
            say("250 2.0.0 Ok")
