"""Load that keeps books: SMTP senders, an IMAP client and a POP3 client, until the appliance is killed under them.

Plain asyncio streams and few words: the generator must not be what is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.e2e.appliance_process import ACCOUNTS, PASSWORD
from tests.faults.ledger import Ledger, digest_of, number_of, text_of

ANA, LUIS = ACCOUNTS
OUTSIDE = "outside"
FRIEND = "friend@outside.test"
SIZES = (700, 700, 3000, 20_000, 90_000, 300_000)  # the last two go to segment files
PLACES = ((ANA,), (LUIS,), (ANA, LUIS), (OUTSIDE,), (ANA, OUTSIDE), (LUIS,))
CONNECTIONS = 20

Broken = (ConnectionError, asyncio.IncompleteReadError, OSError)
_UID = re.compile(rb"APPENDUID \d+ (\d+)")
_SHELF_NUMBER = re.compile(rb"^X-Number: -(\d+)\r$", re.MULTILINE)


async def smtp_replies(reader: asyncio.StreamReader, count: int) -> list[int]:
    """The codes of the next replies."""
    codes = []
    while len(codes) < count:
        line = await reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed in the middle of a reply")
        if line[3:4] != b"-":
            codes.append(int(line[:3]))
    return codes


async def send(port: int, ledger: Ledger, chance: random.Random) -> None:
    """One SMTP connection, with message after message, until it breaks."""
    with contextlib.suppress(*Broken):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"EHLO [127.0.0.1]\r\n")
            await smtp_replies(reader, 2)
            while True:
                await _send_one(reader, writer, ledger, chance)
        finally:
            writer.close()


async def _send_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ledger: Ledger, chance: random.Random
) -> None:
    places = chance.choice(PLACES)
    number, text = ledger.make(chance.choice(SIZES))
    addresses = [FRIEND if place == OUTSIDE else place for place in places]
    recipients = b"".join(b"RCPT TO:<%b>\r\n" % address.encode() for address in addresses)
    writer.write(b"MAIL FROM:<a@outside.test>\r\n" + recipients + b"DATA\r\n")
    codes = await smtp_replies(reader, len(places) + 2)
    assert codes[:-1] == [250] * (len(places) + 1), codes
    if codes[-1] != 354:
        ledger.refused |= {(number, place) for place in places}
        await asyncio.sleep(0.05)
        return
    ledger.doubtful |= {(number, place) for place in places}
    writer.write(text.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    await writer.drain()
    (code,) = await smtp_replies(reader, 1)
    ledger.doubtful -= {(number, place) for place in places}
    if code == 250:
        ledger.promised |= {(number, place) for place in places}
    else:
        assert 400 <= code < 500, f"message {number} got {code}"
        ledger.refused |= {(number, place) for place in places}
        await asyncio.sleep(0.05)


# ── IMAP ──────────────────────────────────────────────────────────────────────────────────────────────────────────

State = tuple[str, frozenset[str]]  # in which mailbox, with which flags
NOWHERE: State = ("", frozenset())
FLAGS = ("\\Flagged", "\\Answered", "$Work", "\\Seen")


@dataclass
class Shelf:
    """What the IMAP client did with its own messages: the states in which each may be found."""

    digests: dict[int, bytes] = field(default_factory=dict)
    states: dict[int, tuple[State, ...]] = field(default_factory=dict)
    mailboxes: dict[str, bool | None] = field(default_factory=dict)  # there, gone, or nobody knows
    last: int = 0

    def problems(self, found: dict[int, list[tuple[State, bytes]]]) -> list[str]:
        """Everything wrong with what was found, in words."""
        wrong = [
            f"the shelf holds {number}, which was never put there" for number in found if number not in self.states
        ]
        for number, states in self.states.items():
            copies = found.get(number, [])
            if len(copies) > 1:
                wrong.append(f"appended message {number} is there {len(copies)} times")
            state = copies[0][0] if copies else NOWHERE
            if state not in states:
                wrong.append(f"appended message {number} is in state {state}, not in one of {states}")
            wrong += [
                f"appended message {number} is damaged" for _, text in copies if digest_of(text) != self.digests[number]
            ]
        return wrong


class Imap:
    """A logged-in IMAP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def login(cls, port: int, account: str) -> Imap:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        made = cls(reader, writer)
        await reader.readline()
        assert await made.command(f'LOGIN {account} "{PASSWORD}"')
        return made

    async def command(self, line: str, literal: bytes | None = None) -> bytes:
        """Everything up to and with the tagged OK, literals included as they stand; anything else fails."""
        self._writer.write(line_of(line, literal))
        said = []
        while True:
            line_said = await self._reader.readline()
            if not line_said.endswith(b"\r\n"):
                raise ConnectionError("closed in the middle of an answer")
            said.append(line_said)
            if match := re.search(rb"\{(\d+)\}\r\n\Z", line_said):
                said.append(await self._reader.readexactly(int(match[1])))
            elif line_said.startswith(b"tag "):
                if not line_said.startswith(b"tag OK"):
                    raise RefusedError(line_said.decode())
                return b"".join(said)

    def close(self) -> None:
        self._writer.close()


class RefusedError(Exception):
    """An IMAP command was answered NO or BAD."""


def line_of(line: str, literal: bytes | None) -> bytes:
    if literal is None:
        return f"tag {line}\r\n".encode()
    return f"tag {line} {{{len(literal)}+}}\r\n".encode() + literal + b"\r\n"


async def tidy(port: int, shelf: Shelf, chance: random.Random) -> None:
    """One IMAP connection that appends, flags, moves and removes, and makes and deletes mailboxes, until it breaks."""
    uids: dict[int, int] = {}
    with contextlib.suppress(*Broken):
        client = await Imap.login(port, ANA)
        try:
            await client.command("SELECT Archive")
            while True:
                with contextlib.suppress(RefusedError):
                    await _tidy_one(client, shelf, chance, uids)
                await asyncio.sleep(0)
        finally:
            client.close()


async def _tidy_one(client: Imap, shelf: Shelf, chance: random.Random, uids: dict[int, int]) -> None:
    """One change. Until its OK both states are possible, from then on the new one only."""
    deed = chance.choice(("append", "append", "flag", "flag", "move", "remove", "mailbox"))
    if deed == "mailbox":
        await _make_or_delete(client, shelf, chance)
        return
    if deed == "append" or not uids:
        shelf.last += 1
        number = -shelf.last
        text = text_of(number, chance.choice(SIZES[:5]))
        shelf.digests[number] = digest_of(text)
        new: State = ("Archive", frozenset({"\\Seen"}))
        shelf.states[number] = (NOWHERE, new)
        said = await client.command("APPEND Archive (\\Seen)", text)
        shelf.states[number] = (new,)
        match = _UID.search(said)
        assert match is not None
        uids[number] = int(match[1])
        return
    number = chance.choice(list(uids))
    ((mailbox, flags),) = shelf.states[number]
    if deed == "flag":
        flag = chance.choice(FLAGS)
        new = (mailbox, flags | {flag})
        commands = [f"UID STORE {uids[number]} +FLAGS ({flag})"]
    elif deed == "move":
        new = ("Trash", flags)
        commands = [f"UID MOVE {uids[number]} Trash"]
    else:
        new = NOWHERE
        deleted: State = (mailbox, flags | {"\\Deleted"})
        shelf.states[number] = ((mailbox, flags), deleted, new)
        commands = [f"UID STORE {uids[number]} +FLAGS (\\Deleted)", f"UID EXPUNGE {uids[number]}"]
    if deed != "remove":
        shelf.states[number] = ((mailbox, flags), new)
    for command in commands:
        await client.command(command)
    shelf.states[number] = (new,)
    if deed != "flag":
        del uids[number]


async def _make_or_delete(client: Imap, shelf: Shelf, chance: random.Random) -> None:
    known = [name for name, there in shelf.mailboxes.items() if there]
    if known and chance.random() < 0.4:
        name = chance.choice(known)
        command, there = f"DELETE {name}", False
    else:
        name = f"Box{len(shelf.mailboxes) + 1}"
        command, there = f"CREATE {name}", True
    shelf.mailboxes[name] = None
    await client.command(command)
    shelf.mailboxes[name] = there


_FETCHED = re.compile(rb"\* \d+ FETCH \(UID \d+ FLAGS \(([^)]*)\) BODY\[\] \{(\d+)\}\r\n")


async def contents(port: int, account: str, mailbox: str) -> list[tuple[frozenset[str], bytes]]:
    """Flags and octets of every message in a mailbox. \\Recent is left out."""
    client = await Imap.login(port, account)
    try:
        await client.command(f"EXAMINE {mailbox}")
        said = await client.command("UID FETCH 1:* (FLAGS BODY.PEEK[])")
    finally:
        client.close()
    found = []
    position = 0
    while match := _FETCHED.match(said, position):
        start, end = match.end(), match.end() + int(match[2])
        found.append((frozenset(match[1].decode().split()) - {"\\Recent"}, said[start:end]))
        position = end + len(b")\r\n")
    return found


async def shelved(port: int) -> dict[int, list[tuple[State, bytes]]]:
    """Everything that `tidy` may have left."""
    found: dict[int, list[tuple[State, bytes]]] = {}
    for mailbox in ("Archive", "Trash"):
        for flags, text in await contents(port, ANA, mailbox):
            found.setdefault(-int(_SHELF_NUMBER.search(text)[1]), []).append(((mailbox, flags), text))  # type: ignore[index]
    return found


async def mailbox_names(port: int) -> set[str]:
    """Names of ana's mailboxes."""
    client = await Imap.login(port, ANA)
    try:
        said = await client.command('LIST "" *')
    finally:
        client.close()
    return {line.rsplit(b" ", 1)[1].strip(b'"').decode() for line in said.splitlines() if line.startswith(b"* LIST")}


# ── POP3 ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def fetch_away(port: int, ledger: Ledger) -> None:
    """POP3 sessions one after another, each of which takes the oldest message of luis and removes it."""
    with contextlib.suppress(*Broken):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await _fetch_one(reader, writer, ledger)
            finally:
                writer.close()
            await asyncio.sleep(0.03)


async def _fetch_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ledger: Ledger) -> None:
    async def ask(line: str) -> bytes:
        writer.write(line.encode() + b"\r\n")
        answer = await reader.readline()
        if not answer.endswith(b"\r\n"):
            raise ConnectionError("closed in the middle of an answer")
        return answer

    await reader.readline()
    await ask(f"USER {LUIS}")
    await ask(f"PASS {PASSWORD}")
    if not (await ask("TOP 1 0")).startswith(b"+OK"):
        await ask("QUIT")
        return
    number = number_of(await reader.readuntil(b"\r\n.\r\n"))
    await ask("DELE 1")
    ledger.maybe_gone.add((number, LUIS))
    if (await ask("QUIT")).startswith(b"+OK"):
        ledger.remove(number, LUIS)


async def everything(
    ports: dict[str, int], ledger: Ledger, shelf: Shelf, chance: random.Random, *, connections: int = CONNECTIONS
) -> None:
    """All of it at once, until every connection has broken."""
    seeds: Sequence[int] = [chance.randrange(1 << 30) for _ in range(connections + 1)]
    await asyncio.gather(
        *(send(ports["mx"], ledger, random.Random(seed)) for seed in seeds[1:]),
        tidy(ports["imap"], shelf, random.Random(seeds[0])),
        fetch_away(ports["pop3"], ledger),
    )
