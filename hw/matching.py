"""Which configuration table is for which interface. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hw.config import NicConfig
from hw.nics import Nic, natural, normal_mac, ranked

EXACT, BY_NAME, BY_KIND = 3, 2, 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Assigned:
    """A physical interface and its settings; `table` is empty where it has only defaults.

    Of several interfaces that fit one table, only the first is `first`: it gets what can be in one place only.
    """

    nic: Nic
    config: NicConfig
    table: str = ""
    first: bool = True


def fit(nic: Nic, table: str, config: NicConfig) -> int:
    """How well a table fits an interface: 0 not at all, the MAC address best."""
    match = config.match
    if match.is_empty:
        return BY_NAME if nic.name == table else 0
    fits = [
        not match.mac or _same_mac(match.mac, nic.mac),
        not match.name or _name_fits(match.name, nic.name),
        not match.driver or match.driver == nic.driver,
        not match.bus or match.bus == nic.bus,
    ]
    if not all(fits):
        return 0
    if match.mac:
        return EXACT
    return BY_NAME if match.name and not match.name.endswith("*") else BY_KIND


def assign(nics: Iterable[Nic], tables: Mapping[str, NicConfig]) -> list[Assigned]:
    """Give every physical interface its table, or the defaults; the best way out comes first."""
    found = []
    taken: set[str] = set()
    for nic in ranked(nic for nic in nics if nic.is_physical):
        fitting = [(-fit(nic, name, config), natural(name), name) for name, config in tables.items()]
        best = min((one for one in fitting if one[0] < 0), default=None)
        if best is None:
            found.append(Assigned(nic=nic, config=NicConfig()))
            continue
        name = best[2]
        found.append(Assigned(nic=nic, config=tables[name], table=name, first=name not in taken))
        taken.add(name)
    return found


def names_of(assigned: Iterable[Assigned]) -> dict[str, str]:
    """What VLANs and bridges may call an interface: its own name, and that of its table. A name goes before a table."""
    names: dict[str, str] = {}
    listed = list(assigned)
    for one in listed:
        if one.table and one.first:
            names[one.table] = one.nic.name
    return names | {one.nic.name: one.nic.name for one in listed}


def _name_fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _same_mac(wanted: str, mac: str) -> bool:
    try:
        return normal_mac(wanted) == normal_mac(mac)
    except ValueError:
        return False
