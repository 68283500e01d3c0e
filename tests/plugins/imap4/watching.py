"""A mail program as the RFCs want it: believes what it is told, and complains about what may not be told."""

from __future__ import annotations

import re

from tests.plugins.imap4.office import Client

_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)", re.DOTALL)
_UID = re.compile(rb"UID (\d+)")
_FLAGS = re.compile(rb"FLAGS \(([^()]*)\)")
_MODSEQ = re.compile(rb"MODSEQ \((\d+)\)")
_SILENT = re.compile(rb"(UID )?STORE (\S+) (?:\([^()]*\) )?([+-]?)FLAGS\.SILENT \(([^()]*)\)")
_HIGHEST = re.compile(rb"HIGHESTMODSEQ (\d+)")


class Cache:
    """What a mail program keeps between its connections: UIDs with their flags, and up to where it knows everything."""

    def __init__(self) -> None:
        self.uidvalidity = 0
        self.modseq = 0
        self.flags: dict[int, frozenset[bytes]] = {}


class Watcher:
    """One connection with a mailbox selected. `uids` has one place for each message, 0 where it is not known yet."""

    def __init__(self, client: Client, cache: Cache, *, qresync: bool, notify: str = "") -> None:
        """`notify` is "selected" or "selected-delayed", of NOTIFY; with the first it uses no message numbers."""
        self.client = client
        self.cache = cache
        self.qresync = qresync
        self.notify = notify
        self.uids: list[int] = []
        self._seen_modseq = 0

    async def select(self, mailbox: str) -> None:
        """Open the mailbox; with QRESYNC by what is kept, else from the beginning."""
        cache = self.cache
        parameters = ""
        if self.qresync:
            await self.client.ok("ENABLE QRESYNC")
            if cache.uidvalidity:
                parameters = f" (QRESYNC ({cache.uidvalidity} {cache.modseq}))"
        lines, completion = await self.client.command(f"SELECT {mailbox}{parameters}")
        assert completion.startswith(b"OK"), completion
        validity = int(next(line for line in lines if b"UIDVALIDITY" in line).split()[3].rstrip(b"]"))
        if validity != cache.uidvalidity or not self.qresync:
            cache.flags.clear()
            cache.uidvalidity = validity
        exists = int(next(line for line in lines if line.endswith(b" EXISTS")).split()[1])
        for line in lines:
            if line.startswith(b"* VANISHED (EARLIER) "):
                for uid in _members(line.split()[3]):
                    cache.flags.pop(uid, None)
        self.uids = [0] * exists
        for line in lines:
            if match := _FETCH.match(line):
                self._fetched(int(match[1]), match[2])
        known = sorted(cache.flags)
        if len(known) == exists:  # all others have the places that their UIDs give them
            assert all(uid in (0, place) for uid, place in zip(self.uids, known, strict=True))
            self.uids = known
        highest = [int(match[1]) for line in lines if (match := _HIGHEST.search(line))]
        cache.modseq = highest[-1]
        if self.notify:
            items = " (UID FLAGS)" if self.notify == "selected" else ""
            await self.command(f"NOTIFY SET ({self.notify} (MessageNew{items} MessageExpunge FlagChange))")
        await self.learn()

    async def command(self, text: str) -> None:
        """Send one command, and take in what comes with it."""
        by_number = text.split()[0] in {"FETCH", "STORE", "SEARCH"}
        lines, completion = await self.client.command(text)
        assert not completion.startswith(b"BAD"), (text, completion)
        self._seen_modseq = 0
        self._assume(text.encode())
        for line in lines:
            self._hear(line, by_number=by_number)
        told = [int(match[1]) for line in (*lines, completion) if (match := _HIGHEST.search(line))]
        self.cache.modseq = told[-1] if told else max(self.cache.modseq, self._seen_modseq)

    def _assume(self, command: bytes) -> None:
        """What was asked for in silence is so, unless the answers say otherwise."""
        match = _SILENT.fullmatch(command)
        if match is None:
            return
        by_uid, members, mode, names = match.groups()
        flags = frozenset(names.split())
        for one in _members(members):
            uid = one if by_uid else self.uids[one - 1]
            if uid in self.cache.flags:
                before = self.cache.flags[uid]
                self.cache.flags[uid] = before | flags if mode == b"+" else before - flags if mode else flags

    async def learn(self) -> None:
        """Ask for the UIDs and flags of messages that are new."""
        while 0 in self.uids and self.notify == "selected":
            await self.command(f"UID FETCH {max(self.uids) + 1}:* (UID FLAGS)")
        while 0 in self.uids:
            await self.command(f"FETCH {self.uids.index(0) + 1}:{len(self.uids)} (UID FLAGS)")

    def _hear(self, line: bytes, *, by_number: bool) -> None:
        words = line.split()
        if line.endswith(b" EXISTS"):
            count = int(words[1])
            assert count >= len(self.uids), f"{line!r} takes messages away"
            self.uids += [0] * (count - len(self.uids))
        elif line.endswith(b" EXPUNGE"):
            assert not by_number, "numbers move under a command that uses them"
            assert not self.qresync
            self.cache.flags.pop(self.uids.pop(int(words[1]) - 1), None)
        elif line.startswith(b"* VANISHED "):
            assert not by_number, "numbers move under a command that uses them"
            assert self.qresync
            assert words[2] != b"(EARLIER)"
            for uid in _members(words[2]):
                del self.uids[self._place(uid)]
                self.cache.flags.pop(uid, None)
        elif match := _FETCH.match(line):
            self._fetched(int(match[1]), match[2])

    def _place(self, uid: int) -> int:
        """Where the message stands; if its UID was not told, the place of one unknown that can be it."""
        if uid in self.uids:
            return self.uids.index(uid)
        below = max((place for place, known in enumerate(self.uids) if 0 < known < uid), default=-1)
        return self.uids.index(0, below + 1)  # raises if there is none

    def _fetched(self, number: int, items: bytes) -> None:
        assert 1 <= number <= len(self.uids), f"there is no message {number}"
        uid, flags, modseq = _UID.search(items), _FLAGS.search(items), _MODSEQ.search(items)
        if uid:
            assert self.uids[number - 1] in (0, int(uid[1])), "a message number means another message"
            self.uids[number - 1] = int(uid[1])
        known = [one for one in self.uids if one]
        assert known == sorted(set(known)), "UIDs are not strictly ascending"
        if flags:
            assert self.uids[number - 1], "flags of a message whose UID was not told"
            self.cache.flags[self.uids[number - 1]] = frozenset(flags[1].split()) - {b"\\Recent"}
        if modseq:
            self._seen_modseq = max(self._seen_modseq, int(modseq[1]))


def _members(uids: bytes) -> list[int]:
    found = []
    for part in uids.split(b","):
        first, _, last = part.partition(b":")
        found += range(int(first), int(last or first) + 1)
    return found
