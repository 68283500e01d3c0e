"""Submitting a message from this machine: `palomar send`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appliance.calls.addresses import whole_address
from appliance.calls.transfer import spooled
from appliance.control import CallError, Items
from appliance.core import Core
from appliance.mail.envelope import (
    NOTIFY_DELAY,
    NOTIFY_FAILURE,
    NOTIFY_NEVER,
    NOTIFY_SUCCESS,
    Envelope,
    Recipient,
)
from appliance.wire.smtp import MAX_ENVID

EVENTS = frozenset({NOTIFY_SUCCESS, NOTIFY_FAILURE, NOTIFY_DELAY})
RETS = frozenset({"", "FULL", "HDRS"})
ORIGIN = "send"  # what the trace says


async def send(
    core: Core,
    items: Items,
    *,
    sender: str,
    recipients: list[str],
    notify: Sequence[str] = (),
    ret: str = "",
    envid: str = "",
) -> dict[str, Any]:
    """Take one message (items: its bytes in base64) for recipients anywhere. An empty sender is the null sender.

    `notify`, `ret` and `envid` are NOTIFY, RET and ENVID of RFC 3461.
    """
    wanted = _notify(notify)
    if ret.upper() not in RETS:
        raise CallError(f"{ret!r} is no RET", remedy="Say full or hdrs.", kind="ArgumentError")
    if not envid.isprintable() or len(envid) > MAX_ENVID:
        raise CallError(
            f"{envid!r:.120} is no ENVID", remedy=f"Use up to {MAX_ENVID} characters.", kind="ArgumentError"
        )
    addresses = [whole_address(core, recipient) for recipient in recipients]
    author = whole_address(core, sender) if sender else None
    spool = await spooled(core, items)
    try:
        message = spool.message()
        ascii_only = message.header.isascii() and all(one.is_ascii for one in addresses if one is not None)
        envelope = Envelope(
            author,
            ret=ret.upper(),
            envid=envid,
            body="8BITMIME",
            smtputf8=not ascii_only or (author is not None and not author.is_ascii),
            size=spool.size,
        )
        done = await core.intake.submit(
            message,
            author,
            [Recipient(address, wanted) for address in addresses],
            origin=ORIGIN,
            envelope=envelope,
            arrived=True,
        )
        del message  # it ends before the memory under it does
    finally:
        spool.close()
    return {
        "accepted": done.accepted is not None,
        "trace_id": done.trace_id,
        "queued": done.accepted is not None and done.accepted.queue_id is not None,
        "filed": len(done.accepted.filed) if done.accepted is not None else 0,
        "refused": [{"address": str(one.address), "reply": str(reply)} for one, reply in done.refused],
    }


def _notify(words: Sequence[str]) -> frozenset[str]:
    wanted = frozenset(word.upper() for word in words)
    if not wanted <= EVENTS and wanted != {NOTIFY_NEVER}:
        raise CallError(
            f"{','.join(words)!r} is no NOTIFY",
            remedy="Say never, or some of success,failure,delay.",
            kind="ArgumentError",
        )
    return wanted


CALLS = {"send": send}
