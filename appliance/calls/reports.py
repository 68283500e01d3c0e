"""What the appliance can tell about itself and about messages."""

from __future__ import annotations

import shutil
from typing import Any

import appliance
from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import Level
from appliance.store.accounts import list_accounts
from appliance.store.database import Database
from appliance.store.holds import held_accounts
from appliance.store.queue import queue_counts
from appliance.timestate import WORDS

MAX_WAYS = 100  # messages whose whole way is told at once
MAX_ROWS = 10_000
LITTLE_FREE = 0.05  # share of the disk


async def trace(core: Core, *, text: str, limit: int = 500) -> list[dict[str, Any]]:
    """The whole way of each message that has anything to do with `text`: all steps of one, then those of the next."""
    wanted = min(limit, MAX_ROWS)
    found = await core.trace.find(text, wanted)
    ids = list(dict.fromkeys(row.trace_id for row in found))[-MAX_WAYS:]
    rows = await core.trace.ways(frozenset(ids), wanted)
    return [row._asdict() for row in sorted(rows, key=lambda row: ids.index(row.trace_id))]


async def status(core: Core) -> list[tuple[str, str, Level]]:
    """Lines (label, value, how bad that is) about the running appliance, the plugins' own included."""

    def count(db: Database) -> tuple[int, tuple[int, int, int, int]]:
        return len(list_accounts(db)), queue_counts(db)

    accounts, (messages, waiting, held, damaged) = await core.store.read(count)
    disk = shutil.disk_usage(core.settings[CoreConfig].data)
    full = disk.free < disk.total * LITTLE_FREE
    lines: list[tuple[str, str, Level]] = [
        ("Version", appliance.__version__, "info"),
        ("Accounts", str(accounts), "info"),
        ("Queue", f"{messages} messages: {waiting} recipients wait, {held} are held", "info"),
        ("Disk", f"{disk.free >> 20} MiB free of {disk.total >> 20}", "warning" if full else "info"),
        *(("Certificate", sentence, "warning") for sentence in core.certificates.expiring()),
    ]
    if damaged:
        words = f"{damaged} recipients were put aside as damaged: see `palomar queue list --state damaged`"
        lines.append(("Queue", words, "error"))
    for name, why in (await core.store.read(held_accounts)).items():
        words = f"mail of {name} is held: {why}; see `palomar account release --help`"
        lines.append(("Held", words, "warning"))
    if core.store.refusing_mail:
        lines.append(("Mail", "refused with 452: the disk is full; delete mail or make room", "error"))
    if core.time_state != "synced":
        lines.append(("Clock", WORDS[core.time_state], "warning"))
    for _, line in core.dispatch.gather("status", core=core):
        lines.append((line[0], line[1], line[2] if len(line) > 2 else "info"))
    return lines


CALLS = {"trace.find": trace, "status": status}
