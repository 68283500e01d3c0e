"""From plan and kernel to the state that people and the mail process see. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Literal

from hw.kernel import Present, PresentAddress
from hw.messages import AddressState, NicState, UplinkState
from hw.nics import ranked, words
from hw.wanted import DEFAULT_V4, DEFAULT_V6, MAIN_TABLE, Plan

Source = Literal["static", "dhcp", "ra", "link-local", "other"]


def nics_of(present: Present) -> tuple[NicState, ...]:
    """Every interface, the best way out first."""
    return tuple(
        NicState(
            name=nic.name,
            kind=nic.kind,
            driver=nic.driver,
            bus=nic.bus,
            mac=nic.mac,
            carrier=nic.carrier,
            carrier_changes=nic.carrier_changes,
            speed_mbps=nic.speed_mbps,
            full_duplex=nic.full_duplex,
            mtu=nic.mtu,
            words=words(nic),
        )
        for nic in ranked(link.nic for link in present.links)
    )


def addresses_of(plan: Plan, present: Present) -> tuple[AddressState, ...]:
    """Every address that this machine has, and where it comes from."""
    planned: dict[tuple[str, str], Source] = {(one.link, one.address): one.source for one in plan.addresses}
    return tuple(
        AddressState(
            nic=one.link,
            address=one.address,
            source=planned.get((one.link, one.address)) or _automatic(one),
            usable=not (one.tentative or one.duplicate),
        )
        for one in present.addresses
    )


def _automatic(one: PresentAddress) -> Source:
    if not one.automatic:
        return "other"
    return "link-local" if ipaddress.ip_interface(one.address).is_link_local else "ra"


def uplinks_of(plan: Plan, present: Present, reasons: Mapping[str, str]) -> tuple[UplinkState, ...]:
    """Every way out. `reasons` says in words why an uplink's probes failed. Active is the first one that is alive."""
    carriers = {link.nic.name: link.nic.carrier for link in present.links}
    gateways: dict[tuple[str, str], str] = {}
    for one in sorted(present.routes, key=lambda one: one.route.metric):
        if one.route.table == MAIN_TABLE and one.route.destination in {DEFAULT_V4, DEFAULT_V6}:
            gateways.setdefault((one.route.link, one.route.destination), one.route.gateway)
    found: list[UplinkState] = []
    for uplink in sorted(plan.uplinks, key=lambda one: one.metric):
        gateway, gateway6 = (gateways.get((uplink.link, way), "") for way in (DEFAULT_V4, DEFAULT_V6))
        reason = ""
        if not carriers.get(uplink.link, False):
            reason = "no cable"
        elif not gateway and not gateway6:
            reason = "no router has told of itself"
        elif uplink.failed:
            reason = reasons.get(uplink.link, "") or "its router does not answer"
        found.append(
            UplinkState(
                nic=uplink.link,
                metric=uplink.metric,
                gateway=gateway,
                gateway6=gateway6,
                alive=not reason,
                active=not reason and not any(one.active for one in found),
                reason=reason,
            )
        )
    return tuple(found)
