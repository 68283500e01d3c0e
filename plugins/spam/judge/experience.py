"""The hooks and the service of weights: what people say of judgements by moving and releasing mail."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from appliance.core import Core
from appliance.errors import NotFoundError
from appliance.flusher import Flusher
from appliance.hookspecs import Service, hookimpl
from appliance.store.database import Database
from appliance.store.messages import prefixes
from appliance.store.schema import Migration
from plugins.spam.judge.protocol_weights import Row, Weights, factor_of, read_tests

JUNK = "Junk"
MAX_MOVED = 200  # messages of one move that count


def m001_weights(db: sqlite3.Connection) -> None:
    """How often each check was right and wrong, by the account that said so."""
    db.execute(
        "CREATE TABLE spam_weight (key TEXT NOT NULL, account_id INTEGER NOT NULL, right INTEGER NOT NULL,"
        " wrong INTEGER NOT NULL, PRIMARY KEY (key, account_id)) STRICT, WITHOUT ROWID"
    )


MIGRATIONS = (Migration("spam.judge.m001_weights", m001_weights),)  # append only; never edit a shipped one


class Experience:
    """Lets checks lose weight that were wrong, and gain it back where they were right."""

    def __init__(self, core: Core, weights: Weights) -> None:
        self._core = core
        self._weights = weights
        core.store.soft.add(MIGRATIONS)

    @hookimpl
    async def message_moved(self, account: str, source: str, target: str, uids: Sequence[int]) -> None:
        """What a person puts into Junk, or takes out of it. The judge's own line tells which checks had spoken."""
        if (source == JUNK) == (target == JUNK) or "Trash" in (source, target):
            return
        found = self._core.store.directory.account(account)
        mailbox = self._core.store.mailbox(found.id, target) if found is not None else None
        if found is None or mailbox is None:
            return
        place = mailbox.id
        for uid in uids[:MAX_MOVED]:
            rows = await self._core.store.read(lambda db, uid=uid: list(prefixes(db, place, uid, uid)))  # type: ignore[misc]
            for _, prefix in rows:
                self._weights.note(found.id, read_tests(prefix), spam=target == JUNK)

    @hookimpl
    async def message_released(self, account: str, header: bytes) -> None:
        """What a person lets out of quarantine is no spam."""
        if (found := self._core.store.directory.account(account)) is not None:
            self._weights.note(found.id, read_tests(header), spam=False)

    # ── what commands ask ─────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What `palomar spam weights` and `palomar spam forget` ask."""
        return [("spam.weights", self._list), ("spam.forget", self._forget)]

    async def _list(self, core: Core) -> list[dict[str, Any]]:
        rows = [
            {"check": key, "factor": factor_of(right, wrong), "right": right, "wrong": wrong}
            for key, (right, wrong) in self._weights.totals().items()
        ]
        return sorted(rows, key=lambda row: (row["factor"], row["check"]))

    async def _forget(self, core: Core, *, checks: list[str], everything: bool = False) -> int:
        count = self._weights.forget(None if everything else [check.upper() for check in checks])
        if not count and not everything:
            raise NotFoundError(f"nothing is known of {', '.join(checks)}; `palomar spam weights` shows all")
        await self.flush()
        return count

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """What writes down the counts."""
        return [Flusher("spam.judge", self.load, self.flush)]

    async def load(self) -> None:
        """Read what the run before has learnt."""
        self._weights.load(await self._core.store.soft.read(_read) or ())

    async def flush(self) -> None:
        """Write down what has changed."""
        rows, gone = self._weights.take_changes()
        if rows or gone:
            await self._core.store.soft.write(lambda db: _write(db, rows, gone))


def _read(db: Database) -> list[Row]:
    return db.execute("SELECT key, account_id, right, wrong FROM spam_weight").fetchall()


def _write(db: Database, rows: Sequence[Row], gone: Sequence[tuple[str, int]]) -> bool:
    db.executemany("INSERT OR REPLACE INTO spam_weight VALUES (?, ?, ?, ?)", rows)
    db.executemany("DELETE FROM spam_weight WHERE key = ? AND account_id = ?", gone)
    return True
