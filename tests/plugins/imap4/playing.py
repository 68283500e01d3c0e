"""Plays bytes against the pure machine as a session would, and writes down what comes out."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.errors import ProtocolError
from plugins.imap4.protocol import (
    AppendEnd,
    AppendMessage,
    AppendUrl,
    BadCommand,
    Continue,
    Event,
    ImapServer,
    Line,
    MessageChunk,
    PartsEnd,
)
from plugins.imap4.protocol_command import Command, State

CONTROL = {"␍": "\r", "␊": "\n", "␀": "\0"}


def wire(text: str) -> bytes:
    """The bytes of all `C:` lines of a transcript."""
    lines = [line[3:] for line in text.splitlines() if line.startswith("C: ") or line == "C:"]
    for picture, control in CONTROL.items():
        lines = [line.replace(picture, control) for line in lines]
    return "".join(f"{line}\r\n" for line in lines).encode()


def expected(text: str) -> list[str]:
    return [line[3:] for line in text.splitlines() if line.startswith("S: ")]


def pieces(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


class Player:
    """Answers the machine: takes messages (but refuses those for "Refused"), follows state changes."""

    def __init__(self, state: State = State.NOT_AUTHENTICATED) -> None:
        self.machine = ImapServer()
        self.machine.state = state
        self.said: list[str] = []
        self.message = b""

    def feed(self, data: bytes) -> None:
        if self.machine.closed:
            return
        try:
            self.machine.receive(data)
            while (event := self.machine.next_event()) is not None:
                self.handle(event)
        except ProtocolError as error:
            closed = "" if self.machine.closed and error.reply.startswith(b"* BYE ") else " without a goodbye"
            self.said.append(f"ProtocolError {error}{closed}")

    def handle(self, event: Event) -> None:
        machine = self.machine
        match event:
            case Continue():
                self.said.append("+")
            case BadCommand():
                self.said.append(f"{event.tag.decode()} BAD {'[TOOBIG] ' if event.too_big else ''}{event.text}")
            case Line():
                self.said.append(f"Line {event.data!r}")
            case AppendMessage():
                self.said.append(show(event))
                if event.head.mailbox == "Refused":
                    machine.refuse_message()
                    self.said.append("refused")
                elif machine.take_message():
                    self.said.append("+")
            case AppendUrl():
                self.said.append(show(event))
            case PartsEnd():
                self.said.append("parts end")
            case MessageChunk():
                self.message += event.data
                if event.last:
                    self.said.append(f"Message {self.message!r}")
                    self.message = b""
            case AppendEnd():
                self.said.append(show(event))
            case Command():
                self.said.append(show(event))
                self.follow(event)

    def follow(self, event: Command) -> None:
        machine = self.machine
        match event.verb:
            case "LOGIN":
                machine.state = State.AUTHENTICATED
            case "SELECT" | "EXAMINE":
                machine.state = State.SELECTED
            case "CLOSE" | "UNSELECT":
                machine.state = State.AUTHENTICATED
            case "IDLE" | "AUTHENTICATE":
                machine.expect_line()
            case "STARTTLS":
                machine.start_tls()


def show(event: Command | AppendMessage | AppendUrl | AppendEnd) -> str:
    """`tag VERB field=value …`, fields of no interest left out."""
    if isinstance(event, AppendEnd):
        return f"{event.tag.decode()} APPEND end"
    if isinstance(event, AppendMessage):
        more = "" if event.first else " more"
        return f"{event.tag.decode()} APPEND{more} {compact(event.head)} {event.size}"
    if isinstance(event, AppendUrl):
        more = "" if event.first else " more"
        return f"{event.tag.decode()} APPEND{more} {compact(event.head)} URL {event.url!r}"
    fields = [
        compact(getattr(event, name))
        for name, declared in type(event).__dataclass_fields__.items()
        if name not in {"tag", "verb"}
        and not (name == "uid" and not getattr(event, name))
        and getattr(event, name) != declared.default
    ]
    verb = f"UID {event.verb}" if getattr(event, "uid", False) else event.verb
    return " ".join([event.tag.decode(), verb, *(field for field in fields if field != "True")])


def compact(value: object) -> str:
    """A value as short as it can be told from others: `Fetch…` without the names of its fields."""
    names = getattr(type(value), "__dataclass_fields__", None) or getattr(type(value), "__struct_fields__", None)
    if names is not None:
        inner = [getattr(value, name) for name in names]
        while inner and inner[-1] in ((), None, False, "", frozenset()):
            inner.pop()
        return f"{type(value).__name__}({', '.join(map(compact, inner))})"
    if isinstance(value, tuple):
        return f"[{' '.join(map(compact, value))}]"
    if isinstance(value, frozenset):
        return f"{{{' '.join(sorted(value))}}}"
    return repr(value)


def play(data: bytes, size: int, state: State = State.NOT_AUTHENTICATED) -> list[str]:
    player = Player(state)
    for piece in pieces(data, size):
        player.feed(piece)
    return player.said
