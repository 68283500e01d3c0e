"""The links that shall be: interfaces, VLANs on them, bridges of them, and which of these have addresses. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from hw.config import Addressing, BridgeConfig, NetworkConfig, VlanConfig, Wifi
from hw.matching import Assigned, assign, names_of
from hw.nics import Nic, label, natural, rank
from hw.wanted import Link, WifiClient, WifiNetwork

DEFAULT_MTU = 1500
VLAN_RANK = 4


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A link that takes part in the network by itself: with addresses, and maybe as a way out."""

    name: str
    config: Addressing
    words: str
    rank: int
    carrier: bool = True
    first: bool = True
    """False where another interface got the addresses of the same table."""

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts members: the better ways out first."""
        return (self.rank, natural(self.name))


@dataclass(kw_only=True, slots=True)
class Topology:
    """What `topology` makes: links in an order in which they can be made, and their parts."""

    links: list[Link] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    wifi: list[WifiClient] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What could not be as configured, in words."""


def topology(nics: tuple[Nic, ...], config: NetworkConfig) -> Topology:
    """Arrange the links."""
    made = Topology()
    assigned = assign(nics, config.nics)
    physical = {one.nic.name for one in assigned}
    names = names_of(assigned)
    masters = _masters(config, names, physical, made)
    for one in assigned:
        _add_nic(one, masters.get(one.nic.name, ""), config, made)
    _add_made_links(config, names, masters, {one.nic.name: one.nic for one in assigned}, made)
    for table in sorted(set(config.nics) - {one.table for one in assigned}, key=natural):
        made.remarks.append(f"nics.{table}: no interface here fits it.")
    made.members.sort(key=lambda member: member.order)
    _raise_parents(made)
    return made


def _masters(config: NetworkConfig, names: dict[str, str], physical: set[str], made: Topology) -> dict[str, str]:
    """The bridge of every port, by the port's real name."""
    masters: dict[str, str] = {}
    for bridge in sorted(config.bridges, key=natural):
        if bridge in physical:
            continue  # said when the bridge is left out
        for port in config.bridges[bridge].ports:
            name = names.get(port, port)
            if masters.setdefault(name, bridge) != bridge:
                made.remarks.append(f"bridges.{bridge}: {name} is in {masters[name]} already.")
    return masters


def _add_nic(one: Assigned, master: str, config: NetworkConfig, made: Topology) -> None:
    nic, own = one.nic, one.config
    if not own.use:
        made.down.append(nic.name)
        made.remarks.append(f"{nic.name} ({label(nic)}) is not used, as the configuration wants it.")
        return
    if nic.kind == "wifi":
        network = own.wifi if own.wifi.ssid else config.wifi
        if not network.ssid:
            made.down.append(nic.name)
            made.remarks.append(f"{nic.name} ({label(nic)}) is not used: no ssid is configured.")
            return
        made.wifi.append(_wifi_client(nic.name, network))
    if master and nic.kind == "wifi":
        # A Wi-Fi client may send with its own MAC address only, so a bridge behind it does not work.
        made.remarks.append(f"bridges.{master}: {nic.name} is Wi-Fi, which cannot be in a bridge.")
        master = ""
    mtu = own.mtu or (config.bridges[master].mtu if master else 0)
    made.links.append(Link(name=nic.name, mtu=mtu, master=master, eee=own.eee, speed_mbps=_speed(own.speed)))
    if not master:
        member = Member(name=nic.name, config=own, words=label(nic), rank=rank(nic), carrier=nic.carrier)
        made.members.append(replace(member, first=one.first))


def _wifi_client(name: str, network: Wifi) -> WifiClient:
    joined = WifiNetwork(ssid=network.ssid, passphrase=network.psk, hidden=network.hidden)
    return WifiClient(link=name, country=network.country, networks=(joined,))


def _speed(text: str) -> int:
    return 0 if text == "auto" else int(text)


def _add_made_links(
    config: NetworkConfig, names: dict[str, str], masters: dict[str, str], nics: dict[str, Nic], made: Topology
) -> None:
    """VLANs and bridges. Bridges come first where nothing else holds them up, then what is on them."""
    for name in sorted(config.bridges, key=natural):
        if name in nics:
            made.remarks.append(f"bridges.{name}: an interface has this name, so it is left out.")
        else:
            _add_bridge(name, config.bridges[name], names, config.vlans, nics, made)
    numbers: dict[tuple[str, int], str] = {}
    for name in sorted(config.vlans, key=natural):
        vlan = config.vlans[name]
        parent = names.get(vlan.on, vlan.on)
        if name in nics:
            made.remarks.append(f"vlans.{name}: an interface has this name, so it is left out.")
        elif parent not in {link.name for link in made.links if link.kind != "vlan"}:
            why = "not used" if parent in made.down else "not there"
            made.remarks.append(f"vlans.{name}: waits for {vlan.on}, which is {why}.")
        elif (other := numbers.setdefault((parent, vlan.id), name)) != name:
            made.remarks.append(f"vlans.{name}: is the same VLAN as {other} on {parent}, so it is left out.")
        elif name in masters and parent in config.bridges:
            made.remarks.append(f"vlans.{name}: is on a bridge and cannot be a port of one, so it is left out.")
        else:
            _add_vlan(name, vlan, parent, masters, nics, made)
    # A port needs its bridge first, a VLAN its parent; bridges need nothing.
    place = {"bridge": 0, "physical": 1, "vlan": 2}
    made.links.sort(key=lambda link: (place[link.kind], natural(link.name)))


def _add_bridge(
    name: str,
    bridge: BridgeConfig,
    names: dict[str, str],
    vlans: Container[str],
    nics: dict[str, Nic],
    made: Topology,
) -> None:
    used = {link.name for link in made.links if link.master == name}
    ports = [names.get(port, port) for port in bridge.ports]
    own = [nics[port] for port in ports if port in used]
    for port in (one for one in ports if one not in nics and one not in vlans):
        made.remarks.append(f"bridges.{name}: works without {port} until it is plugged in.")
    # With the MAC address of its first port the bridge gets the same DHCP lease at each start.
    mac = own[0].mac if own else ""
    made.links.append(Link(name=name, kind="bridge", mtu=bridge.mtu, mac=mac))
    best = min((rank(nic) for nic in own), default=0)
    words = f"bridge of {', '.join(nic.name for nic in own)}" if own else "bridge without ports"
    made.members.append(
        Member(name=name, config=bridge, words=words, rank=best, carrier=any(nic.carrier for nic in own))
    )


def _add_vlan(
    name: str, vlan: VlanConfig, parent: str, masters: dict[str, str], nics: dict[str, Nic], made: Topology
) -> None:
    bridges = {link.name for link in made.links if link.kind == "bridge"}
    master = masters.get(name, "")
    made.links.append(
        Link(
            name=name,
            kind="vlan",
            mtu=vlan.mtu,
            parent=parent,
            vlan_id=vlan.id,
            master=master if master in bridges else "",
        )
    )
    if master not in bridges:
        carrier = nics[parent].carrier if parent in nics else True
        words = f"VLAN {vlan.id} on {parent}"
        made.members.append(Member(name=name, config=vlan, words=words, rank=VLAN_RANK, carrier=carrier))


def _raise_parents(made: Topology) -> None:
    """A VLAN's packets must fit through its parent, and a bridge's through its ports."""
    needed: dict[str, int] = {}
    for link in made.links:
        needed[link.parent] = max(needed.get(link.parent, 0), link.mtu)
    for place, link in enumerate(made.links):  # bridges come before their ports
        size = max(needed.get(link.name, 0), needed.get(link.master, 0) if link.master else 0)
        if size > (link.mtu or DEFAULT_MTU):
            made.links[place] = replace(link, mtu=size)
