"""From netlink messages, as pyroute2 decodes them, and /sys to the values of `hw.kernel`. Does no netlink itself."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from hw import kernel as k
from hw.inventory import device, duplex, is_wifi, speed
from hw.nics import NO_MAC, Kind, Nic, is_onboard
from hw.wanted import MAIN_TABLE, OUR_NUMBERS, Route, Rule

# <linux/if.h>, <linux/if_arp.h>
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_ARPHRD_ETHER = 1
# <linux/if_addr.h>
_DADFAILED, _TENTATIVE, _PERMANENT = 0x08, 0x40, 0x80
_PROTO_KERNEL_RA = 2
# <linux/rtnetlink.h>
_RT_TABLE_LOCAL, _RTN_UNICAST, _RT_SCOPE_LINK = 255, 1, 253
_RTPROT_KERNEL, _RTPROT_RA = 2, 9
_RTM_F_CLONED = 0x200
_NORMAL_KINDS = frozenset({"", "veth"})


def present_link(message: Any, names: Mapping[int, str]) -> k.PresentLink | None:
    """A link with its place among others; None for the loopback. `names` are those of all links, by index."""
    if message["flags"] & _IFF_LOOPBACK:
        return None
    name = message.get_attr("IFLA_IFNAME")
    info = message.get_attr("IFLA_LINKINFO")
    made = (info.get_attr("IFLA_INFO_KIND") if info else "") or ""
    kind = _kind(name, made, message["ifi_type"])
    vlan = info.get_attr("IFLA_INFO_DATA") if info and made == "vlan" else None
    mac = message.get_attr("IFLA_ADDRESS") or ""
    driver, bus, path = device(name)
    nic = Nic(
        name=name,
        index=message["index"],
        kind=kind,
        driver=driver,
        bus=bus,
        path=path,
        mac="" if mac == NO_MAC else mac,
        up=bool(message["flags"] & _IFF_UP),
        carrier=_carrier(message),
        carrier_changes=message.get_attr("IFLA_CARRIER_CHANGES") or 0,
        speed_mbps=speed(name),
        full_duplex=duplex(name),
        mtu=message.get_attr("IFLA_MTU") or 1500,
        onboard=is_onboard(driver, bus, path),
    )
    return k.PresentLink(
        nic=nic,
        parent=names.get(message.get_attr("IFLA_LINK") or 0, "") if made == "vlan" else "",
        vlan_id=(vlan.get_attr("IFLA_VLAN_ID") or 0) if vlan else 0,
        master=names.get(message.get_attr("IFLA_MASTER") or 0, ""),
    )


def link_event(message: Any) -> k.LinkEvent | None:
    """A change of a link; None for the loopback."""
    if message["flags"] & _IFF_LOOPBACK or not message.get_attr("IFLA_IFNAME"):
        return None
    gone = message["event"] == "RTM_DELLINK"
    return k.LinkEvent(
        name=message.get_attr("IFLA_IFNAME"),
        carrier=not gone and _carrier(message),
        carrier_changes=message.get_attr("IFLA_CARRIER_CHANGES") or 0,
        gone=gone,
    )


def present_address(message: Any, names: Mapping[int, str]) -> k.PresentAddress | None:
    """An address of one of the links in `names`, else None."""
    name = names.get(message["index"])
    # IFA_LOCAL is ours where IFA_ADDRESS is the other end's.
    host = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if not name or not host:
        return None
    flags = message.get_attr("IFA_FLAGS")
    flags = message["flags"] if flags is None else flags
    six = message["family"] == socket.AF_INET6
    return k.PresentAddress(
        link=name,
        address=f"{host}/{message['prefixlen']}",
        automatic=six and (message["scope"] == _RT_SCOPE_LINK or not flags & _PERMANENT),
        tentative=six and bool(flags & _TENTATIVE) and not flags & _DADFAILED,
        duplicate=six and bool(flags & _DADFAILED),
    )


def present_route(message: Any, names: Mapping[int, str]) -> k.PresentRoute | None:
    """A unicast route through one of the links in `names`; None for local, cached and multipath ones."""
    name = names.get(message.get_attr("RTA_OIF") or 0)
    table = message.get_attr("RTA_TABLE") or message["table"] or MAIN_TABLE
    if not name or table == _RT_TABLE_LOCAL or message["type"] != _RTN_UNICAST or message["flags"] & _RTM_F_CLONED:
        return None
    six = message["family"] == socket.AF_INET6
    host = message.get_attr("RTA_DST") or ("::" if six else "0.0.0.0")
    route = Route(
        destination=f"{host}/{message['dst_len']}",
        link=name,
        gateway=message.get_attr("RTA_GATEWAY") or "",
        metric=message.get_attr("RTA_PRIORITY") or 0,
        table=table,
        prefer=message.get_attr("RTA_PREFSRC") or "",
    )
    return k.PresentRoute(route=route, automatic=message["proto"] in {_RTPROT_KERNEL, _RTPROT_RA})


def present_rule(message: Any) -> Rule | None:
    """A rule of the form `from source lookup table`, with a priority of ours; else None."""
    source = message.get_attr("FRA_SRC")
    priority = message.get_attr("FRA_PRIORITY") or 0
    if not source or priority not in OUR_NUMBERS:
        return None
    table = message.get_attr("FRA_TABLE") or message["table"]
    return Rule(source=f"{source}/{message['src_len']}", table=table, priority=priority)


def _carrier(message: Any) -> bool:
    """Whether something is at the other end, and the link ready (RFC 2863 operstate): never the admin flag."""
    state = message.get_attr("IFLA_OPERSTATE")
    carrier = bool(message.get_attr("IFLA_CARRIER"))
    return bool(message["flags"] & _IFF_UP) and carrier and state in {"UP", "UNKNOWN", None}


def _kind(name: str, made: str, hardware: int) -> Kind:
    if made in {"vlan", "bridge"}:
        return "vlan" if made == "vlan" else "bridge"
    if made not in _NORMAL_KINDS or hardware != _ARPHRD_ETHER:
        return "other"
    return "wifi" if is_wifi(name) else "ethernet"
