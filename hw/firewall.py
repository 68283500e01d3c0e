"""The firewall as one nftables document for `nft -j -f -`, which replaces the whole table at once. Pure.

What comes in is dropped unless it is an answer, what Palomar listens on, what keeps the network going, or allowed by
the configuration. The document adds the table, deletes it, and adds it anew: one transaction, so there is no moment
without rules, and none of what others put into tables of their own is touched.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

from hw.wanted import Allowance, Firewall

TABLE = "palomar"
FAMILY = "inet"
PINGS_PER_SECOND = 10
PING_BURST = 20
CONNECTIONS_PER_SECOND = 50
"""New connections to served ports from one address; a mail program opens a few, a flood thousands."""
CONNECTION_BURST = 200
SSH_PER_MINUTE = 10
SSH_BURST = 5
PEERS = 16_384
"""Addresses whose rates are remembered, a few MiB at most; further ones wait for the oldest to time out."""
METER_SECONDS = 60
SSH_PORT = 22
IDENT_PORT = 113
MDNS_PORT = 5353
MDNS_GROUP_V4, MDNS_GROUP_V6 = "224.0.0.251", "ff02::fb"
ICMP_ERRORS = ("destination-unreachable", "time-exceeded", "parameter-problem")
ICMPV6_ERRORS = ("destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem")
NEIGHBOURS = ("nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert")
LISTENERS = ("mld-listener-query", "mld-listener-report", "mld-listener-done", "mld2-listener-report")

Json: TypeAlias = dict[str, Any]


def document(firewall: Firewall) -> bytes:
    """The input of `nft -j -f -`: the same octets for the same firewall."""
    return msgspec.json.encode({"nftables": list(_commands(firewall))}, order="sorted")


def _commands(firewall: Firewall) -> Iterator[Json]:
    table = {"family": FAMILY, "name": TABLE}
    yield {"metainfo": {"json_schema_version": 1}}
    yield {"add": {"table": table}}
    yield {"delete": {"table": table}}
    if not firewall.enabled:
        return
    yield {"add": {"table": table}}
    yield _chain("input", "input", "drop")
    yield _chain("forward", "forward", "drop")
    for rule in _input(firewall):
        yield {"add": {"rule": {"family": FAMILY, "table": TABLE, "chain": "input"} | rule}}


def _chain(name: str, hook: str, policy: str) -> Json:
    chain = {
        "family": FAMILY,
        "table": TABLE,
        "name": name,
        "type": "filter",
        "hook": hook,
        "prio": 0,
        "policy": policy,
    }
    return {"add": {"chain": chain}}


def _input(firewall: Firewall) -> Iterator[Json]:
    """The rules in the order of the packets: most of them match the first."""
    yield _rule("answers", _ct_state("established", "related"), _ACCEPT)
    yield _rule("ourselves", _match(_meta("iifname"), "lo"), _ACCEPT)
    yield _rule("no part of any connection", _ct_state("invalid"), _DROP)
    yield from _network(firewall)
    if firewall.mdns:
        yield from _mdns()
    if firewall.ssh:
        yield from _limited("ssh", (SSH_PORT,), SSH_PER_MINUTE, "minute", SSH_BURST)
    if firewall.ports:
        yield from _limited("syn", firewall.ports, CONNECTIONS_PER_SECOND, "second", CONNECTION_BURST)
    for allowance in firewall.allowances:
        yield from _allowed(allowance)
    # Mail servers of old ask who is connecting; a refusal spares them, and us, the time-out.
    yield _rule("ident", _port("tcp", (IDENT_PORT,)), {"reject": {"type": "tcp reset"}})
    yield _rule("counted", {"counter": None})


def _network(firewall: Firewall) -> Iterator[Json]:
    """ICMP errors, neighbours and routers (RFC 4890 section 4.4), pings, and answers to our DHCP clients."""
    yield _rule("icmp errors", _match(_payload("icmp", "type"), _set(ICMP_ERRORS)), _ACCEPT)
    if firewall.ipv6_links:
        yield _rule("icmpv6 errors", _match(_payload("icmpv6", "type"), _set(ICMPV6_ERRORS)), _ACCEPT)
        # A hop limit of 255 proves that the sender is on the link (RFC 4861 section 6.1.2).
        near = _match(_payload("ip6", "hoplimit"), 255)
        yield _rule("neighbours", near, _match(_payload("icmpv6", "type"), _set(NEIGHBOURS)), _ACCEPT)
        yield _rule(
            "multicast", _from("ip6", "fe80::/10"), _match(_payload("icmpv6", "type"), _set(LISTENERS)), _ACCEPT
        )
    if firewall.ping:
        for protocol in ("icmp", "icmpv6"):
            rate = _limit(PINGS_PER_SECOND, "second", PING_BURST)
            yield _rule("pings", _match(_payload(protocol, "type"), "echo-request"), rate, _ACCEPT)
    if firewall.dhcp_links:
        links = _match(_meta("iifname"), _set(firewall.dhcp_links))
        ports = [_match(_payload("udp", "sport"), 67), _match(_payload("udp", "dport"), 68)]
        yield _rule("dhcp", links, *ports, _ACCEPT)


def _mdns() -> Iterator[Json]:
    """Questions of the local network (RFC 6762 section 11); anything that was routed here is no such one."""
    for protocol, group in (("ip", MDNS_GROUP_V4), ("ip6", MDNS_GROUP_V6)):
        yield _rule("mdns", _match(_payload(protocol, "daddr"), group), _port("udp", (MDNS_PORT,)), _ACCEPT)


def _limited(name: str, ports: Iterable[int], rate: int, per: str, burst: int) -> Iterator[Json]:
    """New connections to ports, as far as one address makes not too many; the rest is dropped and tried again later."""
    listed = tuple(ports)
    for suffix, protocol in (("4", "ip"), ("6", "ip6")):
        over = _limit(rate, per, burst, inv=True)
        key = {"elem": {"val": _peer(protocol), "timeout": METER_SECONDS}}
        meter = {"meter": {"name": f"{name}{suffix}", "key": key, "size": PEERS, "stmt": over}}
        yield _rule(f"{name} flood", _ct_state("new"), _port("tcp", listed), meter, _DROP)
    yield _rule("served" if name == "syn" else name, _port("tcp", listed), _ACCEPT)


def _peer(protocol: str) -> Json:
    """An IPv4 address, or the /64 of an IPv6 one: who has one address of it has them all."""
    source = _payload(protocol, "saddr")
    return source if protocol == "ip" else {"&": [source, "ffff:ffff:ffff:ffff::"]}


def _allowed(allowance: Allowance) -> Iterator[Json]:
    port = _port(allowance.protocol, (allowance.port,))
    if not allowance.sources:
        yield _rule("allowed", port, _ACCEPT)
    for version, protocol in ((4, "ip"), (6, "ip6")):
        networks = [one for one in map(ipaddress.ip_network, allowance.sources) if one.version == version]
        if networks:
            collapsed = ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
            yield _rule(
                "allowed", _match(_payload(protocol, "saddr"), {"set": [*map(_prefix, collapsed)]}), port, _ACCEPT
            )


# ── the words of libnftables-json(5) ──────────────────────────────────────────────────────────────────────────────

_ACCEPT: Json = {"accept": None}
_DROP: Json = {"drop": None}


def _rule(comment: str, *expressions: Json) -> Json:
    return {"comment": comment, "expr": list(expressions)}


def _match(left: Json, right: Any) -> Json:
    return {"match": {"op": "==", "left": left, "right": right}}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _set(values: Iterable[object]) -> Any:
    listed = list(values)
    return listed[0] if len(listed) == 1 else {"set": listed}


def _port(protocol: str, ports: Iterable[int]) -> Json:
    return _match(_payload(protocol, "dport"), _set(ports))


def _prefix(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Any:
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def _from(protocol: str, network: str) -> Json:
    return _match(_payload(protocol, "saddr"), _prefix(ipaddress.ip_network(network)))


def _ct_state(*states: str) -> Json:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": _set(states)}}


def _limit(rate: int, per: str, burst: int, *, inv: bool = False) -> Json:
    return {"limit": {"rate": rate, "per": per, "burst": burst, "inv": inv}}
