"""The kernel settings of a machine that serves mail and routes nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hw.wanted import Sysctl

GLOBAL = (
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/accept_source_route", "0"),
    # An uplink whose cable is pulled gives way to the next one at once, without any route being changed.
    ("net/ipv4/conf/all/ignore_routes_with_linkdown", "1"),
    ("net/ipv6/conf/all/ignore_routes_with_linkdown", "1"),
)


def global_sysctls() -> Iterator[Sysctl]:
    """Those of the whole machine."""
    for path, value in GLOBAL:
        yield Sysctl(path=path, value=value)


def ipv4_sysctls(link: str) -> Iterator[Sysctl]:
    """Those of IPv4 on one link."""
    values = {
        # Answers may leave by another uplink than the question came by, so only the loose check of RFC 3704.
        "rp_filter": "2",
        # With two interfaces in one network, each answers for its own address alone.
        "arp_ignore": "1",
        "arp_announce": "2",
        "accept_redirects": "0",
        "send_redirects": "0",
        "accept_source_route": "0",
        "ignore_routes_with_linkdown": "1",
    }
    for name, value in values.items():
        yield Sysctl(path=f"net/ipv4/conf/{link}/{name}", value=value)


def ipv6_sysctls(link: str, *, enabled: bool, listen: bool, default_route: bool, metric: int) -> Iterator[Sysctl]:
    """Those of IPv6 on one link; `listen` is whether routers are believed, `default_route` whether as a way out.

    Addresses are made of the MAC address and never temporary: mail needs one that stays (RFC 4291, not RFC 8981).
    """
    if not enabled:
        yield Sysctl(path=f"net/ipv6/conf/{link}/disable_ipv6", value="1")
        return
    values = {
        # The settings that decide what the first router solicitation leads to come before IPv6 is switched on.
        "addr_gen_mode": "0",
        "use_tempaddr": "0",
        "accept_ra": "2" if listen else "0",
        "autoconf": "1" if listen else "0",
        "accept_ra_defrtr": "1" if listen and default_route else "0",
        "accept_ra_pinfo": "1" if listen else "0",
        "accept_ra_rtr_pref": "1" if listen else "0",
        "ra_defrtr_metric": str(metric),
        "accept_redirects": "0",
        "ignore_routes_with_linkdown": "1",
        # Addresses survive a pulled cable, so that connections do.
        "keep_addr_on_down": "1",
        "router_solicitations": "-1",
        "disable_ipv6": "0",
    }
    for name, value in values.items():
        yield Sysctl(path=f"net/ipv6/conf/{link}/{name}", value=value)
