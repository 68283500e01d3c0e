"""Submitting a message from this machine: `palomar send`."""

from __future__ import annotations

from typing import Any

from appliance.calls.transfer import spooled
from appliance.control import CallError, Items
from appliance.core import Core
from appliance.errors import AddressError
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient

ORIGIN = "send"  # what the trace says


async def send(core: Core, items: Items, *, sender: str, recipients: list[str]) -> dict[str, Any]:
    """Take one message (items: its bytes in base64) for recipients anywhere. An empty sender is the null sender."""
    addresses = [_address(recipient) for recipient in recipients]
    author = _address(sender) if sender else None
    spool = await spooled(core, items)
    try:
        message = spool.message()
        ascii_only = message.header.isascii() and all(one.is_ascii for one in addresses if one is not None)
        envelope = Envelope(
            author,
            body="8BITMIME",
            smtputf8=not ascii_only or (author is not None and not author.is_ascii),
            size=spool.size,
        )
        done = await core.intake.submit(
            message, author, [Recipient(address) for address in addresses], origin=ORIGIN, envelope=envelope
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


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise CallError(f"{text!r} is no mail address: {error}", kind="AddressError") from None


CALLS = {"send": send}
