"""Domains and aliases."""

from __future__ import annotations

import ipaddress
from typing import Any, Literal

from appliance.calls.addresses import address_of, is_ours, not_ours
from appliance.config import CoreConfig
from appliance.control import CallError
from appliance.core import Core
from appliance.errors import AddressError, NotFoundError
from appliance.hookspecs import DnsRecord
from appliance.mail.address import domain_key, normal_domain
from appliance.store import Domain
from appliance.store.accounts import (
    add_alias,
    add_domain,
    address_key,
    get_alias,
    list_aliases,
    list_domains,
    remove_alias,
    remove_domain,
)
from appliance.store.database import Database

Kind = Literal["local", "backup", "relay"]
CONFIGURED = "configuration"
STORED = "store"


async def add(core: Core, *, name: str, kind: Kind = "local", next_hop: str = "") -> None:
    """Take mail for a domain. A relay passes it on to the host `next_hop`."""
    domain = _domain(name)
    if domain in _configured(core):
        raise CallError(
            f"{domain} is named in the configuration already",
            kind="ExistsError",
            remedy=f"Take it out of `domains` in {core.settings.document.path}, or leave it as it is.",
        )
    host = _next_hop(kind, next_hop)

    def change(db: Database) -> None:
        known = _stored(db, domain)
        add_domain(db, domain, kind, catch_all=known.catch_all if known else "", next_hop=host)

    await core.store.write(change)


async def list_(core: Core) -> list[dict[str, Any]]:
    """All domains, with where they are declared."""
    configured = _configured(core)
    stored = {domain.name: domain for domain in await core.store.read(list_domains)}
    found = {name: Domain(name) for name in configured} | stored
    return [
        {
            "name": domain.name,
            "kind": domain.kind,
            "catch_all": domain.catch_all,
            "next_hop": domain.next_hop,
            "source": CONFIGURED if domain.name in configured else STORED,
        }
        for _, domain in sorted(found.items())
    ]


async def remove(core: Core, *, name: str) -> None:
    """Take no more mail for a domain."""
    domain = _domain(name)
    if domain in _configured(core):
        raise CallError(
            f"{domain} is named in the configuration",
            remedy=f"Take it out of `domains` in {core.settings.document.path}.",
        )
    try:
        await core.store.write(lambda db: remove_domain(db, domain))
    except NotFoundError:
        raise _unknown(domain) from None


async def records(core: Core, *, name: str) -> list[dict[str, Any]]:
    """What a domain of ours should have in DNS, as far as the loaded plugins know."""
    domain = _domain(name)
    if not await is_ours(core, domain):
        raise _unknown(domain)
    hostname = core.settings[CoreConfig].hostname
    own = [DnsRecord(domain, "MX", f"10 {hostname}.", "mail for the domain comes here")]
    theirs = [record for _, record in core.dispatch.gather("dns_records", core=core, domain=domain)]
    return [record._asdict() for record in own + theirs]


async def catch_all(core: Core, *, name: str, address: str) -> None:
    """Lead unknown addresses of a domain to an address, or nowhere."""
    domain = _domain(name)
    configured = domain in _configured(core)

    def change(db: Database) -> None:
        known = _stored(db, domain)
        if known is None and not configured:
            raise _unknown(domain)
        if known is None:
            add_domain(db, domain, catch_all=address)
        else:
            add_domain(db, domain, known.kind, catch_all=address, next_hop=known.next_hop)

    await core.store.write(change)


async def alias_add(core: Core, *, address: str, targets: list[str]) -> list[str]:
    """Let an address lead to others, besides those it leads to already. Returns all of them."""
    for one in (address, *targets):
        address_of(one)
    domain = address_of(address).domain
    if not await is_ours(core, domain):
        raise not_ours(domain)

    def change(db: Database) -> list[str]:
        add_alias(db, address, targets)
        return list(get_alias(db, address_key(address)))

    return await core.store.write(change)


async def alias_list(core: Core) -> list[dict[str, Any]]:
    """All aliases."""
    found = await core.store.read(list_aliases)
    return [{"address": address, "targets": list(targets)} for address, targets in found]


async def alias_remove(core: Core, *, address: str, target: str | None = None) -> None:
    """Take away one target of an alias, or the alias."""
    try:
        await core.store.write(lambda db: remove_alias(db, address, target))
    except NotFoundError:
        what = f"{address} does not lead to {target}" if target else f"there is no alias {address}"
        raise CallError(what, kind="NotFoundError", remedy="`palomar alias list` shows all.") from None


def _next_hop(kind: Kind, text: str) -> str:
    if not text and kind != "relay":
        return ""
    if kind == "local":
        remedy = "Add --kind relay or --kind backup."
        raise CallError("only a relay or a backup has a next hop", remedy=remedy, kind="ArgumentError")
    if not text:
        remedy = "Add --next-hop with the host that takes its mail. A backup may find its host by DNS."
        raise CallError("a relay needs a next hop", remedy=remedy, kind="ArgumentError")
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return _domain(text)


def _configured(core: Core) -> set[str]:
    return set(core.settings[CoreConfig].domains)


def _stored(db: Database, name: str) -> Domain | None:
    return next((domain for domain in list_domains(db) if domain.name == name), None)


def _domain(name: str) -> str:
    try:
        return domain_key(normal_domain(name))
    except AddressError as error:
        raise CallError(f"{name!r} is no domain: {error}", kind="AddressError") from None


def _unknown(domain: str) -> CallError:
    return CallError(f"there is no domain {domain}", kind="NotFoundError", remedy="`palomar domain list` shows all.")


CALLS = {
    "domain.add": add,
    "domain.list": list_,
    "domain.remove": remove,
    "domain.catch_all": catch_all,
    "domain.records": records,
    "alias.add": alias_add,
    "alias.list": alias_list,
    "alias.remove": alias_remove,
}
