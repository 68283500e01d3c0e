"""Addresses and domains as people type them on the command line."""

from __future__ import annotations

from appliance.config import CoreConfig
from appliance.control import CallError
from appliance.core import Core
from appliance.errors import AddressError
from appliance.mail.address import Address, domain_key
from appliance.store.accounts import list_domains


def address_of(text: str) -> Address:
    """Read an address. Raises CallError."""
    try:
        return Address.parse(text)
    except AddressError as error:
        raise CallError(
            f"{text!r} is no mail address: {error}", remedy="Write it as ana@example.org.", kind="AddressError"
        ) from None


def whole_address(core: Core, text: str) -> Address:
    """Read an address that may lack its domain, as cron names `root`: then it is that of the first of our domains."""
    config = core.settings[CoreConfig]
    return address_of(text if "@" in text else f"{text}@{next(iter(config.domains), config.hostname)}")


async def is_ours(core: Core, domain: str) -> bool:
    """Whether mailboxes of that domain can be here, by the configuration or by the store."""
    key = domain_key(domain)
    if key in core.settings[CoreConfig].domains:
        return True
    stored = await core.store.read(list_domains)
    return any(one.name == key and one.kind == "local" for one in stored)


def not_ours(domain: str) -> CallError:
    """What to say of a domain that is not ours."""
    return CallError(f"{domain} is no domain of ours", remedy=f"Type: palomar domain add {domain}", kind="Domain")
