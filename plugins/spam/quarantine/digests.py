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
from plugins.spam.quarantine.schema import ROUND, Link, digest_of, forget_links, note_digest, take_back_digest

MAX_LISTED = 200  # messages in one digest
MAX_READ = 5000  # messages of one account that are counted for it


async def send_due(core: Core) -> None:
    """One round a day. The first one after an installation only marks the day: its hour may be long over.

    Raises ApplianceError when a digest could not be stored; the next call sends it.
    """
    now = int(core.now())
    day = due_day(now, core.settings[QuarantineConfig].digest_hour)
    last = await core.store.read(lambda db: digest_of(db, ROUND))
    if last is not None and last[0] >= day:
        return
    if last is not None:
        for account in await _accounts(core):
            told = await core.store.read(lambda db, account=account: digest_of(db, account.id))  # type: ignore[misc]
            if told is None or told[0] < day:
                await send_digest(core, account)

    def end_round(db: Database) -> None:
        forget_links(db, now)
        note_digest(db, ROUND, day, now)

    await core.store.write(end_round)


async def send_now(core: Core) -> int:
    """Tell everybody for whom something new is held, whatever the hour. Returns how many were told."""
    return sum([await send_digest(core, account) for account in await _accounts(core)])


async def send_digest(core: Core, account: Account) -> bool:
    """Tell one account what is held since it was told last; False if nothing is. Raises ApplianceError."""
    store, now = core.store, int(core.now())
    last = await store.read(lambda db: digest_of(db, account.id))
    since = last[1] if last is not None else 0
    new = await store.read(lambda db: quarantined(db, account=account.name, since=since, before=now, limit=MAX_READ))
    if not new:
        return False
    old = await store.read(lambda db: quarantined(db, account=account.name, before=since, limit=MAX_READ))
    links: list[Link] = []
    held = [await _line(core, account, one, links) for one in new[:MAX_LISTED]]
    day = due_day(now, core.settings[QuarantineConfig].digest_hour)
    await store.write(lambda db: note_digest(db, account.id, day, now, links))
    try:
        await _send(core, account, held, older=len(old), more=len(new) - len(held))
    except ApplianceError:
        await store.write(lambda db: take_back_digest(db, account.id, last, links))
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
