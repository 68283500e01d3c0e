"""Selectors: how the settings name some addresses. "ana@office.test", "office.test", or "*.office.test"."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from appliance.errors import AddressError, Problem
from appliance.mail.address import Address, domain_key, normal_domain


def selector_problem(name: str, selector: str) -> Iterator[Problem]:
    """What is wrong with a selector that the setting `name` holds."""
    try:
        _parsed(selector)
    except AddressError as error:
        remedy = 'Write it like "ana@office.test", "office.test" or "*.office.test".'
        yield Problem(name, f"{selector!r} is neither an address nor a domain: {error}.", remedy)


def selects(selector: str, address: Address) -> bool:
    """Whether a sound selector means the address: itself, its domain, or for "*." a domain above that."""
    key, suffix = _parsed(selector)
    if "@" in key:
        return key == address.key
    domain = domain_key(address.domain)
    return domain.endswith(key) if suffix else domain == key


@functools.lru_cache(maxsize=1024)  # the settings' own, asked for with every recipient
def _parsed(selector: str) -> tuple[str, bool]:
    if "@" in selector:
        return Address.parse(selector).key, False
    if selector.startswith("*."):
        return f".{domain_key(normal_domain(selector[2:]))}", True
    return domain_key(normal_domain(selector)), False
