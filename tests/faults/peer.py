"""A client that sends octets as they are: what a well-behaved library would never put on the wire."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Literal

from tests.e2e.appliance_process import ACCOUNTS, PASSWORD, Appliance

ANSWER_S = 60.0  # the longest that any answer, or the end of a connection, may take


@dataclass(frozen=True)
class Port:
    """One kind of port of the appliance."""

    name: str
    protocol: Literal["smtp", "imap", "pop3"]
    tls: bool = False

    def __str__(self) -> str:
        return self.name


PORTS = (
    Port("mx", "smtp"),
    Port("submission", "smtp"),
    Port("submissions", "smtp", tls=True),
    Port("imap", "imap"),
    Port("imaps", "imap", tls=True),
    Port("pop3", "pop3"),
    Port("pop3s", "pop3", tls=True),
)
GREETINGS = {"smtp": b"220 ", "imap": b"* OK ", "pop3": b"+OK "}
UPGRADES = {"smtp": b"STARTTLS\r\n", "imap": b"t STARTTLS\r\n", "pop3": b"STLS\r\n"}


def unverified() -> ssl.SSLContext:
    """A client's context that takes the appliance's own certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Peer:
    """One connection. Whatever is awaited comes within ANSWER_S, or the test fails.

    `source` is the address to connect from: the limits per peer count those of 127.0.0.0/8 apart.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", tls: bool = False, source: str = "", window: int = 0):
        self.sock: socket.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.settimeout(ANSWER_S)
        if window:  # how much the kernel takes for a peer that does not read
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, port))
        self.got = b""  # received and not taken yet
        self.ended = False
        if tls:
            self.start_tls()

    def start_tls(self) -> None:
        """Make the handshake."""
        self.sock = unverified().wrap_socket(self.sock, server_hostname="mail.palomar.test")

    def send(self, data: bytes) -> None:
        """Send octets. A server that has hung up meanwhile is no error: what it said is still to be read."""
        try:
            self.sock.sendall(data)
        except (ConnectionError, ssl.SSLError):
            self.ended = True

    def half_close(self) -> None:
        """Say that no more will be sent. TLS stays up for the other direction."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """Vanish by a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def _more(self, end: float) -> bool:
        """Wait for octets; False at the connection's end."""
        self.sock.settimeout(max(0.001, end - time.monotonic()))
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise AssertionError(f"no answer in time; so far {self.got[-300:]!r}") from None
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.got += data
        self.ended = not data
        return bool(data)

    def until(self, ending: bytes, seconds: float = ANSWER_S) -> bytes:
        """Take what comes, `ending` included. AssertionError when the connection ends before it."""
        stop = time.monotonic() + seconds
        start = 0
        while (at := self.got.find(ending, start)) < 0:
            start = max(0, len(self.got) - len(ending))
            assert self._more(stop), f"closed without {ending!r}; it said {self.got[-300:]!r}"
        taken, self.got = self.got[: at + len(ending)], self.got[at + len(ending) :]
        return taken

    def line(self) -> bytes:
        return self.until(b"\r\n")

    def reply(self) -> bytes:
        """One SMTP reply, all its lines."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return b"".join(lines)

    def rest(self, seconds: float = ANSWER_S) -> bytes:
        """Everything until the server closes, which it must."""
        stop = time.monotonic() + seconds
        while self._more(stop):
            pass
        taken, self.got = self.got, b""
        return taken

    def quiet(self, seconds: float = 0.1) -> bool:
        """Whether nothing (more) comes and the connection stays open."""
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            return not self.got
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.got += data
        self.ended = not data
        return False

    # ── the usual dialogues ───────────────────────────────────────────────────────────────────────────────────────

    def say(self, line: str) -> bytes:
        """An SMTP command and its reply."""
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def command(self, line: str, seconds: float = ANSWER_S) -> bytes:
        """An IMAP command without its tag, and everything up to its tagged answer."""
        self.send(f"c {line}\r\n".encode())
        return self.answered(b"c", seconds)

    def answered(self, tag: bytes, seconds: float = ANSWER_S) -> bytes:
        """Everything up to the tagged answer."""
        stop = time.monotonic() + seconds
        self.got = b"\r\n" + self.got
        start = 0
        while (at := self.got.find(b"\r\n" + tag + b" ", start)) < 0:
            start = max(0, len(self.got) - len(tag) - 3)
            assert self._more(stop), f"closed before its answer; it said {self.got[-300:]!r}"
        before, self.got = self.got[2 : at + 2], self.got[at + 2 :]
        return before + self.until(b"\r\n", seconds)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def greeted(appliance: Appliance, port: Port, *, source: str = "", window: int = 0) -> Peer:
    """A connection whose greeting has been read."""
    peer = Peer(appliance.ports[port.name], tls=port.tls, source=source, window=window)
    greeting = peer.line()
    assert greeting.startswith(GREETINGS[port.protocol]), greeting
    return peer


def smtp(appliance: Appliance, name: str = "mx", *, source: str = "") -> Peer:
    """An SMTP client of the MX port that has said EHLO, or one of `submission` that is logged in as ana."""
    peer = greeted(appliance, Port(name, "smtp", tls=name == "submissions"), source=source)
    assert peer.say("EHLO [127.0.0.1]").startswith(b"250-")
    if name != "mx":
        plain = base64.b64encode(f"\0{ACCOUNTS[0]}\0{PASSWORD}".encode()).decode()
        assert peer.say(f"AUTH PLAIN {plain}").startswith(b"235 ")
    return peer


def imap(appliance: Appliance, account: str = ACCOUNTS[0], *, source: str = "", window: int = 0) -> Peer:
    """An IMAP client that is logged in."""
    peer = greeted(appliance, Port("imap", "imap"), source=source, window=window)
    assert b"c OK" in peer.command(f'LOGIN {account} "{PASSWORD}"')
    return peer


def pop3(appliance: Appliance, account: str = ACCOUNTS[0], *, source: str = "", window: int = 0) -> Peer:
    """A POP3 client that is logged in."""
    peer = greeted(appliance, Port("pop3", "pop3"), source=source, window=window)
    peer.send(f"USER {account}\r\nPASS {PASSWORD}\r\n".encode())
    assert peer.line().startswith(b"+OK")
    answer = peer.line()
    assert answer.startswith(b"+OK"), answer
    return peer


def refused(port: Port, answer: bytes) -> bool:
    """Whether an answer is a clear refusal in its protocol: 4yz or 5yz, BAD, NO or BYE, -ERR."""
    lines = [line for line in answer.split(b"\r\n") if line]
    if port.protocol == "smtp":
        return bool(lines) and all(line[:1] in b"45" for line in lines)
    if port.protocol == "imap":
        return bool(lines) and all(b" BAD " in line or b" NO " in line or line.startswith(b"* BYE") for line in lines)
    return bool(lines) and all(line.startswith(b"-ERR") for line in lines)


def deliver(appliance: Appliance, text: str) -> bytes:
    """Send one message to ana; the answer to its end."""
    with smtp(appliance) as peer:
        assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
        assert peer.say("RCPT TO:<ana@palomar.test>").startswith(b"250 ")
        assert peer.say("DATA").startswith(b"354 ")
        peer.send(text.encode() + b"\r\n.\r\n")
        return peer.reply()


def last_number(reader: Peer) -> int:
    said = reader.command("SELECT INBOX")
    return next(int(line.split()[1]) for line in said.split(b"\r\n") if line.endswith(b" EXISTS"))
