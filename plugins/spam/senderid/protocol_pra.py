"""The purported responsible address (RFC 4407), and which policies speak of it (RFC 4406 section 4.4). No DNS here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from appliance.errors import AddressError
from appliance.mail.address import Address
from appliance.mail.addresslist import address_list
from appliance.mail.headers import Field
from appliance.mail.message import Message
from plugins.spam.spf.protocol_record import is_version

_VERSION = re.compile(rb"spf2\.0/([a-z0-9,._-]+)(?: |\Z)", re.IGNORECASE)
_TRACE = (b"received", b"return-path")


def responsible(message: Message) -> Address | None:
    """The address that says it brought the message here, or None where the header is not clear (section 2)."""
    fields = [field for field in message.fields() if field.value]
    resent_sender, resent_from = _first(fields, b"resent-sender"), _first(fields, b"resent-from")
    if resent_sender is not None and not _of_an_earlier_block(fields, resent_from, resent_sender):
        return _one_mailbox(fields[resent_sender])
    if resent_from is not None:
        return _one_mailbox(fields[resent_from])
    for name in (b"sender", b"from"):
        found = [field for field in fields if field.name == name]
        if found:
            return _one_mailbox(found[0]) if len(found) == 1 else None
    return None


def of_pra(records: Sequence[bytes]) -> list[bytes]:
    """The policies with the scope pra; without any, those of SPF stand for them."""
    own = [text for text in records if (found := _VERSION.match(text)) and b"pra" in found[1].lower().split(b",")]
    return own or [text for text in records if is_version(text)]


def _first(fields: Sequence[Field], name: bytes) -> int | None:
    return next((place for place, field in enumerate(fields) if field.name == name), None)


def _of_an_earlier_block(fields: Sequence[Field], resent_from: int | None, resent_sender: int) -> bool:
    """Whether a Resent-From above, with trace fields between the two, belongs to a later resending."""
    if resent_from is None or resent_from > resent_sender:
        return False
    return any(field.name in _TRACE for field in fields[resent_from:resent_sender])


def _one_mailbox(field: Field) -> Address | None:
    listed = [one for one in address_list(field.value) if one.local is not None and one.domain is not None]
    if len(listed) != 1:
        return None
    try:
        return Address.parse(f"{(listed[0].local or b'').decode()}@{(listed[0].domain or b'').decode()}")
    except (AddressError, UnicodeDecodeError):
        return None
