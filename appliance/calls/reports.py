"""What the appliance can tell about itself and about messages."""

from __future__ import annotations

import shutil
from typing import Any

import appliance
from appliance.config import CoreConfig
from appliance.core import Core
from appliance.store.accounts import list_accounts
from appliance.store.database import Database
from appliance.store.queue import queue_counts

MAX_WAYS = 100  # messages whose whole way is told at once
MAX_ROWS = 10_000


async def trace(core: Core, *, text: str, limit: int = 500) -> list[dict[str, Any]]:
    """The whole way of each message that has anything to do with `text`: all steps of one, then those of the next."""
    wanted = min(limit, MAX_ROWS)
    found = await core.trace.find(text, wanted)
    ids = list(dict.fromkeys(row.trace_id for row in found))[-MAX_WAYS:]
    rows = await core.trace.ways(frozenset(ids), wanted)
    return [row._asdict() for row in sorted(rows, key=lambda row: ids.index(row.trace_id))]


async def status(core: Core) -> list[tuple[str, str]]:
    """Lines (label, value) about the running appliance, the plugins' own included."""

    def count(db: Database) -> tuple[int, tuple[int, int, int]]:
        return len(list_accounts(db)), queue_counts(db)

    accounts, (messages, waiting, held) = await core.store.read(count)
    disk = shutil.disk_usage(core.settings[CoreConfig].data)
    lines = [
        ("Version", appliance.__version__),
        ("Accounts", str(accounts)),
        ("Queue", f"{messages} messages: {waiting} recipients wait, {held} are held"),
        ("Disk", f"{disk.free >> 20} MiB free of {disk.total >> 20}"),
    ]
    if core.store.refusing_mail:
        lines.append(("Mail", "refused with 452: the disk is full"))
    return [*lines, *(line for _, line in core.dispatch.gather("status", core=core))]


CALLS = {"trace.find": trace, "status": status}
