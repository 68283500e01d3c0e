"""What is held, for people: listing, showing, releasing and removing it, by command and by link."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from appliance.core import Core
from appliance.errors import ApplianceError, NotFoundError, StoreError
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.headers import scan_fields, unfold
from appliance.mail.message import Message
from appliance.mail.text import decode_words
from appliance.store.quarantine import (
    Quarantined,
    quarantine_counts,
    quarantined,
    quarantined_entry,
    set_judged_header,
)
from appliance.store.queue import ENTRY_BITS
from appliance.store.queuedesk import Selection, name_of
from plugins.spam.quarantine.protocol_marks import without_marks
from plugins.spam.quarantine.schema import use_links

MAX_LISTED = 1000
MAX_HEADER = 64 << 10  # octets that are looked at, or shown
MAX_TEXT = 1000  # characters of a sender or a subject

_NAME = re.compile(r"(\d{1,15})\.(\d{1,5})")


class QuarantineError(ApplianceError):
    """A name that stands for nothing that is held."""


class Desk:
    """Answers to `palomar quarantine`, and a line for `palomar status`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What the command asks."""
        return [
            ("quarantine.list", self._list),
            ("quarantine.show", self._show),
            ("quarantine.release", self._release),
            ("quarantine.remove", self._remove),
        ]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """How much is held, and for how many."""
        counts = core.store.peek(quarantine_counts)
        total = sum(count for _, count in counts)
        return [("Quarantine", f"{total} messages are held for {len(counts)} accounts")] if total else []

    async def _list(self, core: Core, *, account: str = "") -> list[dict[str, Any]]:
        name = core.store.directory.require_account(account).name if account else ""
        held = await core.store.read(lambda db: quarantined(db, account=name, limit=MAX_LISTED))
        return [await self._described(one) for one in held]

    async def _show(self, core: Core, *, name: str) -> dict[str, Any]:
        one = await self._named(name)
        text = (one.header + await header_of(core, one))[:MAX_HEADER].decode("utf-8", "replace")
        return {**await self._described(one), "size": one.size, "demanded": one.demanded, "header": text}

    async def _release(self, core: Core, *, names: list[str], learn: bool = False) -> int:
        return await release(core, [await self._named(name) for name in names], learn=learn)

    async def _remove(self, core: Core, *, names: list[str]) -> int:
        chosen = [await self._named(name) for name in names]
        return await remove(core, chosen)

    async def _described(self, one: Quarantined) -> dict[str, Any]:
        sender, subject = outside(await header_of(self._core, one), one)
        return {
            "name": name_of(one.entry_id),
            "account": one.account,
            "recipient": one.recipient,
            "held_at": one.held_at,
            "sender": sender,
            "subject": subject,
            "score": one.score,
            "reason": one.reason,
            "trace_id": one.trace_id,
        }

    async def _named(self, name: str) -> Quarantined:
        """Raises QuarantineError."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise QuarantineError(f"{name!r:.80} names nothing that is held; `palomar quarantine list` shows names")
        entry_id = (int(found[1]) << ENTRY_BITS) + int(found[2])
        one = await self._core.store.read(lambda db: quarantined_entry(db, entry_id))
        if one is None:
            raise QuarantineError(f"{name} is not held; `palomar quarantine list` shows what is")
        return one


async def release(core: Core, chosen: Sequence[Quarantined], *, learn: bool) -> int:
    """Let mail go on to where it was going, and have filters `learn` that it was no spam. Returns how many went.

    What somebody else has released or removed meanwhile does not count. Raises StoreError.
    """
    count = 0
    for one in chosen:
        message = await _loaded(core, one) if learn and one.account else None
        header = without_marks(one.header)
        await core.store.write(lambda db, one=one, header=header: set_judged_header(db, one.entry_id, header))  # type: ignore[misc]
        gone = await core.queue.desk.release(Selection(ids=(one.entry_id,), state="held"))
        if not gone:
            continue
        count += gone
        await core.store.write(lambda db, one=one: use_links(db, one.entry_id))  # type: ignore[misc]
        core.trace.record(one.trace_id, "quarantine", "released", f"for {one.recipient}")
        if message is not None:
            core.dispatch.message_released(account=one.account, message=message, header=one.header)
    return count


async def remove(core: Core, chosen: Sequence[Quarantined]) -> int:
    """Remove mail for good; nobody is told. Returns how many."""
    count = await core.queue.desk.remove(Selection(ids=tuple(one.entry_id for one in chosen), state="held"))
    for one in chosen:
        core.trace.record(one.trace_id, "quarantine", "removed", f"for {one.recipient}")
    return count


async def header_of(core: Core, one: Quarantined) -> bytes:
    """The message's own header; empty if it is gone meanwhile, or damaged, which the store has logged."""
    try:
        async with core.store.reading(one.body_id) as stored:
            return stored.header
    except (NotFoundError, StoreError):
        return b""


def outside(header: bytes, one: Quarantined) -> tuple[str, str]:
    """Author and subject, decoded; the envelope's sender where there is no author."""
    found: dict[bytes, str] = {}
    for field in scan_fields(header[:MAX_HEADER]):
        if field.name in (b"from", b"subject"):
            text = decode_words(unfold(field.value)).strip()
            found.setdefault(field.name, text[:MAX_TEXT])
    return found.get(b"from") or one.sender, found.get(b"subject", "")


async def _loaded(core: Core, one: Quarantined) -> Message | None:
    try:
        return await core.store.load(one.body_id)
    except (NotFoundError, StoreError):
        return None  # it is released all the same; the store has logged what is damaged
