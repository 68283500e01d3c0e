"""Telling accounts what is held for them: a mail with links, once a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from appliance.core import Core
from appliance.errors import ApplianceError
from appliance.store import Account, Database
from appliance.store.quarantine import Quarantined, quarantine_counts, quarantined
from plugins.spam.quarantine.config import QuarantineConfig
from plugins.spam.quarantine.desk import header_of, outside
from plugins.spam.quarantine.links import cover_for, new_link, submit, texts_for
from plugins.spam.quarantine.protocol_digest import Held, compose_digest
from plugins.spam.quarantine.schema import (
    ROUND,
    Link,
    add_links,
    digest_day,
    drop_links,
    forget_gone,
    has_unseen,
    note_digest,
    note_seen,
    set_told,
    untold,
)

MAX_LISTED = 200  # messages in one digest
MAX_READ = 5000  # messages of one account that are counted for it


async def see(core: Core) -> None:
    """Note what is held since the last look, and forget what is not any more. Raises StoreError.

    Nothing is written where there is nothing new.
    """
    now = int(core.now())

    def note(db: Database) -> None:
        forget_gone(db, now)
        note_seen(db, now)

    if await core.store.read(has_unseen):
        await core.store.write(note)


async def send_due(core: Core) -> None:
    """One round a day. The first one after an installation only marks the day: its hour may be long over.

    Raises ApplianceError when a digest could not be stored; the next call sends it.
    """
    day = due_day(core.now(), core.settings[QuarantineConfig].digest_hour)
    last = await core.store.read(lambda db: digest_day(db, ROUND))
    if last >= day:
        return
    if last:
        for account in await _accounts(core):
            if await core.store.read(lambda db, account=account: digest_day(db, account.id)) < day:  # type: ignore[misc]
                await send_digest(core, account)
    await core.store.write(lambda db: note_digest(db, ROUND, day))


async def send_now(core: Core) -> int:
    """Tell everybody for whom something new is held, whatever the hour. Returns how many were told."""
    await see(core)
    return sum([await send_digest(core, account) for account in await _accounts(core)])


async def send_digest(core: Core, account: Account) -> bool:
    """Tell one account what is held that stands in no digest yet; False if nothing is. Raises ApplianceError.

    It is noted first: after a crash a digest is missing, rather than sent twice.
    """
    store, day = core.store, due_day(core.now(), core.settings[QuarantineConfig].digest_hour)
    everything = await store.read(lambda db: quarantined(db, account=account.name, limit=MAX_READ))
    fresh = await store.read(untold)
    new = [one for one in everything if one.entry_id in fresh]
    if not new:
        return False
    links: list[Link] = []
    held = [await _line(core, account, one, links) for one in new[:MAX_LISTED]]
    ids = [one.entry_id for one in new]

    def note(db: Database) -> None:
        add_links(db, links)
        set_told(db, ids, told=True)
        note_digest(db, account.id, day)

    def take_back(db: Database) -> None:
        drop_links(db, links)
        set_told(db, ids, told=False)
        note_digest(db, account.id, 0)

    await store.write(note)
    try:
        await _send(core, account, held, older=len(everything) - len(new), more=len(new) - len(held))
    except ApplianceError:
        await store.write(take_back)
        raise
    return True


async def _accounts(core: Core) -> list[Account]:
    """Those for whom something is held, as far as they get mail."""
    names = [name for name, _ in await core.store.read(quarantine_counts)]
    found = [core.store.directory.account(name) for name in names]
    return [account for account in found if account is not None and account.enabled]


async def _line(core: Core, account: Account, one: Quarantined, links: list[Link]) -> Held:
    sender, subject = outside(await header_of(core, one), one)
    release = None
    if not one.demanded:
        link, release = new_link(core, account, one)
        links.append(link)
    at = datetime.fromtimestamp(one.held_at).astimezone()
    return Held(f"{at:%Y-%m-%d %H:%M}", sender, subject, one.score, one.reason, release)


async def _send(core: Core, account: Account, held: Sequence[Held], *, older: int, more: int) -> None:
    config, cover, texts = core.settings[QuarantineConfig], cover_for(core, account), texts_for(core, account)
    spans = {"days": config.days, "link_days": config.link_days}
    await submit(core, compose_digest(held, cover, texts, **spans, older=older, more=more), cover)


def due_day(now: float, hour: int) -> int:
    """The day, as an ordinal, whose hour was the last to come: today, or yesterday before that hour."""
    local = datetime.fromtimestamp(now).astimezone()
    return local.toordinal() - (local.hour < hour)
