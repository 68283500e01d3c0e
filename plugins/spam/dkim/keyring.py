"""The signing keys of our domains: made, looked for in DNS, used once they are there, replaced in time."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.dns import NoSuchDomainError, TemporaryDnsError
from appliance.errors import StoreError
from appliance.mail.idna import to_ascii
from appliance.store.database import Database
from plugins.spam.dkim.config import DkimConfig
from plugins.spam.dkim.keys import load
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dkim.schema import StoredKey, add_key, list_keys, note_missing, note_published, remove_key
from plugins.spam.dkim.signing import KINDS, SigningKey, generate, load_private, public_record

log = logging.getLogger(__name__)

DAY_S = 86_400
LOOK_EVERY_S = 3600.0
LOOK_SOON_S = 120.0  # after a key was made, until somebody has published it or an hour is over


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with what is made of it."""

    stored: StoredKey
    signing: SigningKey
    record: str  # what DNS should say

    @property
    def name(self) -> str:
        """Where DNS should say it."""
        return f"{self.stored.selector}._domainkey.{self.stored.domain}"


class Keyring:
    """A service that keeps every domain of ours in keys, and what signs for whom."""

    name = "spam.dkim"
    after: Sequence[str] = ()

    def __init__(self, core: Core) -> None:
        self._core = core
        self._entries: dict[str, list[Entry]] | None = None
        self._again = asyncio.Event()

    # ── what is asked of it ───────────────────────────────────────────────────────────────────────────────────────

    def signers(self, domain: str) -> list[SigningKey]:
        """The keys that sign mail of an author in `domain` (A-labels): one of each kind; none without any in DNS."""
        found: dict[str, SigningKey] = {}
        for entry in self.entries(domain):
            stored = entry.stored
            if stored.published_at is not None and stored.replaced_at is None:
                found.setdefault(stored.kind, entry.signing)
        return list(found.values())

    def entries(self, domain: str | None = None) -> list[Entry]:
        """All keys of a domain, or of all, the newest first."""
        if self._entries is None:
            self._entries = _by_domain(self._core.store.peek(list_keys))
        if domain is not None:
            return self._entries.get(domain, [])
        return [entry for entries in self._entries.values() for entry in entries]

    def domains(self) -> list[str]:
        """Our domains with mailboxes or members here, with A-labels."""
        names = dict.fromkeys(self._core.settings[CoreConfig].domains)
        names.update(
            (name, None) for name, domain in self._core.store.directory.domains().items() if domain.kind == "local"
        )
        return [to_ascii(name) for name in names]

    async def make(self, domain: str) -> list[Entry]:
        """Make a new key of each kind for a domain. They sign when DNS has them; those before them sign till then."""
        now = int(self._core.now())
        for kind in self._core.settings[DkimConfig].kinds:
            private = await asyncio.to_thread(generate, kind)
            key = StoredKey(domain, self._selector(domain, kind, now), kind, private, now)
            await self._core.store.write(functools.partial(_add, key=key))
        self._changed()
        return self.entries(domain)

    async def remove(self, domain: str, selector: str) -> bool:
        """Forget a key; False if there was none."""
        gone = await self._core.store.write(lambda db: remove_key(db, domain, selector))
        self._changed()
        return gone

    async def look(self, domains: Iterable[str] | None = None) -> None:
        """Look in DNS for the keys of these domains, or of all, and note what is there."""
        for domain in list(domains if domains is not None else {entry.stored.domain for entry in self.entries()}):
            for entry in reversed(self.entries(domain)):  # the older first: a newer one then replaces it
                await self._look_for(entry)
            self._changed()

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, ready: Callable[[], None]) -> None:
        """Look after the keys until cancelled."""
        ready()
        while True:
            try:
                await self._keep_up()
            except StoreError as error:
                log.error("DKIM keys could not be looked after: %s", error)
            waiting = any(entry.stored.published_at is None for entry in self.entries())
            self._again.clear()
            try:
                async with asyncio.timeout(LOOK_SOON_S if waiting else LOOK_EVERY_S):
                    await self._again.wait()
            except TimeoutError:
                continue

    async def reload(self) -> None:
        """Domains may have come: look at once."""
        self._again.set()

    async def _keep_up(self) -> None:
        config = self._core.settings[DkimConfig]
        if not config.sign:
            return
        now = self._core.now()
        for domain in self.domains():
            newest = self.entries(domain)[:1]
            due = newest and config.rotate_days and now - newest[0].stored.made_at >= config.rotate_days * DAY_S
            if not newest or (due and self._core.time_state == "synced"):
                await self.make(domain)
                log.info("new DKIM keys for %s: publish what `palomar domain dns %s` shows", domain, domain)
        await self.look()
        for entry in self.entries():
            replaced_at = entry.stored.replaced_at
            if replaced_at is not None and now - replaced_at > config.overlap_days * DAY_S:
                await self.remove(entry.stored.domain, entry.stored.selector)
                log.info("the DKIM key %s is not needed any more; take its record out of DNS", entry.name)

    async def _look_for(self, entry: Entry) -> None:
        try:
            records = (await self._core.resolver.look_up(entry.name, "TXT")).records
        except NoSuchDomainError:
            records = ()
        except TemporaryDnsError as error:
            log.debug("DKIM key %s: %s", entry.name, error)
            return  # what was known stays
        there = any(_same_key(record, entry.record) for record in records)
        stored, now = entry.stored, int(self._core.now())
        if there and stored.published_at is None:
            await self._core.store.write(lambda db: note_published(db, stored, now))
            log.info("the DKIM key %s is in DNS and signs from now on", entry.name)
        elif not there and stored.published_at is not None and stored.replaced_at is None:
            await self._core.store.write(lambda db: note_missing(db, stored))
            log.warning("the DKIM key %s has gone from DNS and signs no more", entry.name)

    def _selector(self, domain: str, kind: str, now: int) -> str:
        """A name that tells when the key was made: "p20261124", with "e" for Ed25519, and a letter if that is taken."""
        taken = {entry.stored.selector for entry in self.entries(domain)}
        base = time.strftime("p%Y%m%d", time.gmtime(now)) + ("e" if kind == "ed25519" else "")
        return next(name for name in (base, *(f"{base}-{n}" for n in range(2, 10_000))) if name not in taken)

    def _changed(self) -> None:
        self._entries = None


def _add(db: Database, *, key: StoredKey) -> None:
    add_key(db, key)


def _by_domain(keys: Iterable[StoredKey]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for key in keys:
        if key.kind not in KINDS:
            continue  # of a later release
        private = load_private(key.private)
        entry = Entry(key, SigningKey(key.domain, key.selector, private), public_record(private))
        found.setdefault(key.domain, []).append(entry)
    return found


def _same_key(record: bytes, wanted: str) -> bool:
    try:
        return load(record).record.key == load(wanted.encode()).record.key
    except TagError:
        return False
