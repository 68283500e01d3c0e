"""Holding what an account sends: because it sent too much, or because an administrator wants it so."""

from __future__ import annotations

from appliance.calls.accounts import find_account
from appliance.control import CallError
from appliance.core import Core
from appliance.store.holds import end_hold, forget_held, held_entries
from appliance.store.queuedesk import Selection

MAX_REASON = 200  # characters


async def hold(core: Core, *, name: str, reason: str = "") -> int:
    """Hold what the account sends from now on and what waits of it; it goes on getting mail.

    Returns how many recipients had been waiting.
    """
    account = await core.store.read(lambda db: find_account(db, name))
    why = reason[:MAX_REASON] or "held by the administrator"
    return await core.queue.desk.hold_account(account.name, why)


async def release(core: Core, *, name: str, remove: bool = False) -> int:
    """Let the account send again, and its held mail go, or throw that away. Returns how many recipients it was for."""
    account = await core.store.read(lambda db: find_account(db, name))
    was_held = await core.store.write(lambda db: end_hold(db, account.id))
    entries = tuple(await core.store.read(lambda db: held_entries(db, account.id)))
    if not was_held and not entries:
        raise CallError(f"{account.name} is not held", kind="NotFoundError", remedy="`palomar status` tells who is.")
    count = 0
    if entries:
        desk, chosen = core.queue.desk, Selection(ids=entries, state="held")
        count = await (desk.remove(chosen) if remove else desk.release(chosen))
    await core.store.write(lambda db: forget_held(db, account.id))
    return count


CALLS = {"account.hold": hold, "account.release": release}
