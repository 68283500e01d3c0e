"""What routers advertise beyond addresses and routes, for as long as they said it holds (RFC 8106 section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hw.kernel import DnsEvent
from hw.ndoptions import FOREVER_S
from hw.wanted import Advertised


class Advertisements:
    """Keeps what each link's routers said last; `changed` is called when something of it has run out."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._dns = _Lasting(changed)
        self._domains = _Lasting(changed)

    def hear(self, event: DnsEvent) -> None:
        """Take an option over. Resolvers and search domains come, and run out, each by themselves."""
        for kept, values in ((self._dns, event.dns), (self._domains, event.domains)):
            if values:
                kept.keep(event.link, values, event.lifetime_s)

    def known(self) -> tuple[tuple[str, Advertised], ...]:
        """By link, what holds now."""
        dns, domains = self._dns.values, self._domains.values
        links = sorted({*dns, *domains})
        return tuple((link, Advertised(dns=dns.get(link, ()), domains=domains.get(link, ()))) for link in links)

    def close(self) -> None:
        """Stop the clocks; nobody is told any more."""
        self._dns.close()
        self._domains.close()


class _Lasting:
    """Texts by link, each link's for its own time."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.values: dict[str, tuple[str, ...]] = {}

    def keep(self, link: str, values: tuple[str, ...], lifetime_s: int) -> None:
        self._forget(link)
        if lifetime_s:
            self.values[link] = values
        if 0 < lifetime_s < FOREVER_S:
            self._timers[link] = asyncio.get_running_loop().call_later(lifetime_s, self._run_out, link)

    def _run_out(self, link: str) -> None:
        self._forget(link)
        self._changed()

    def _forget(self, link: str) -> None:
        self.values.pop(link, None)
        if (timer := self._timers.pop(link, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
