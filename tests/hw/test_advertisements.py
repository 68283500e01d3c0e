"""Resolvers and search domains of routers hold for as long as they said."""

from __future__ import annotations

import asyncio

from hw.advertisements import Advertisements
from hw.kernel import DnsEvent
from hw.ndoptions import FOREVER_S
from hw.wanted import Advertised

DNS, DOMAINS = ("fd00::53",), ("office.example",)


def heard(*events: DnsEvent) -> dict[str, Advertised]:
    kept = Advertisements(lambda: None)
    for event in events:
        kept.hear(event)
    kept.close()
    return dict(kept.known())


async def test_both_kinds_are_kept_beside_each_other() -> None:
    dns = DnsEvent(link="eth0", dns=DNS, lifetime_s=600)
    domains = DnsEvent(link="eth0", domains=DOMAINS, lifetime_s=FOREVER_S)
    other = DnsEvent(link="eth1", domains=("b.example",), lifetime_s=9)
    assert heard(dns, domains, other) == {
        "eth0": Advertised(dns=DNS, domains=DOMAINS),
        "eth1": Advertised(domains=("b.example",)),
    }
    gone = DnsEvent(link="eth0", dns=DNS, lifetime_s=0)
    assert heard(dns, domains, gone) == {"eth0": Advertised(domains=DOMAINS)}


async def test_they_run_out_and_that_is_told() -> None:
    told = asyncio.Event()
    kept = Advertisements(told.set)
    loop = asyncio.get_running_loop()
    began = loop.time()
    kept.hear(DnsEvent(link="eth0", dns=DNS, lifetime_s=1))
    kept.hear(DnsEvent(link="eth0", domains=DOMAINS, lifetime_s=600))
    kept.hear(DnsEvent(link="eth1", dns=DNS, lifetime_s=0))
    await asyncio.wait_for(told.wait(), 60)
    assert loop.time() - began > 0.9
    assert dict(kept.known()) == {"eth0": Advertised(domains=DOMAINS)}
    kept.close()
