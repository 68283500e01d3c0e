"""The part that keeps the kernel's network as planned: read, plan, apply, again at every change.

Whatever happens (a cable, a lease, a router's resolvers, an uplink that fails, a reload) only marks the network as
dirty. A round then reads everything, makes the whole plan anew and applies the difference, so nothing depends on the
order in which things happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hw import kernel as k
from hw.advertisements import Advertisements
from hw.apply import Applier
from hw.config import NetworkConfig
from hw.firewall import document
from hw.messages import Note
from hw.part import Facts, Part, Report, keep
from hw.plan import plan as make_plan
from hw.ra import metric_changes, solicit
from hw.resolv import write_resolv_conf
from hw.wanted import DEFAULT_V6, MAIN_TABLE, AdvertisedRoute, Inventory, Learned, Lease, Plan

log = logging.getLogger(__name__)

COALESCE_S = 0.05
"""Events within that time lead to one round."""
RULES_AGAIN_S = 5.0
"""Seconds after which rules that were not taken are tried again; those from before hold until then."""
LOOK_ANYWAY_S = 60.0
"""Seconds after which everything is looked at though nothing has happened."""


class Worker(Protocol):
    """Something that works on one link for as long as the plan wants it."""

    name: str

    async def run(self, report: Report) -> None:
        """See Part."""


@dataclass(frozen=True, slots=True)
class Key:
    """Which worker: its kind, and the part of the plan that it was made for. Another plan makes another one."""

    kind: str
    spec: object


def advertised_routes(present: k.Present) -> tuple[AdvertisedRoute, ...]:
    """The ways out that the kernel has made of router advertisements."""
    return tuple(
        AdvertisedRoute(link=one.route.link, router=one.route.gateway, metric=one.route.metric)
        for one in present.routes
        if one.automatic and one.route.destination == DEFAULT_V6 and one.route.table == MAIN_TABLE and one.route.gateway
    )


class Network:
    """The part "network". `changed` is called after each round, `hire` makes the workers that a plan wants.

    `listening` are the mail ports that are open before the mail process tells which it serves.
    """

    name = "network"

    def __init__(
        self,
        kernel: k.Kernel,
        config: NetworkConfig,
        *,
        hostname: str = "",
        changed: Callable[[], None],
        hire: Callable[[Network, Plan], dict[Key, Worker]],
        load_rules: Callable[[bytes], object],
        resolv_conf: Path = Path("/run/palomar-hw/resolv.conf"),
        has_ssh_key: Callable[[], bool] = lambda: False,
        listening: tuple[int, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        rules_again_s: float = RULES_AGAIN_S,
    ) -> None:
        self._kernel = kernel
        self._applier = Applier(kernel)
        self._config = config
        self._hostname = hostname
        self._changed = changed
        self._hire = hire
        self._load_rules = load_rules
        self._resolv_conf = resolv_conf
        self._has_ssh_key = has_ssh_key
        self._clock = clock
        self._rules_again_s = rules_again_s
        self._wake = asyncio.Event()
        self._wake.set()
        self._rules: bytes | None = None
        self._resolvers: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._workers: dict[Key, tuple[Worker, asyncio.Task[None]]] = {}
        self._worker_notes: dict[str, tuple[Note, ...]] = {}
        self._leases: dict[str, Lease] = {}
        self._advertisements = Advertisements(self.dirty)
        self._link_local: dict[str, str] = {}
        self._failed: frozenset[str] = frozenset()
        self._listening = listening
        self.present = k.Present()
        self.plan = Plan()
        self.rounds = 0

    # ── what others tell ──────────────────────────────────────────────────────────────────────────────────────────

    def configure(self, config: NetworkConfig, hostname: str) -> None:
        """Take other settings; they hold from the next round on."""
        self._config, self._hostname = config, hostname
        self.dirty()

    def dirty(self) -> None:
        """Something has changed: look at everything soon."""
        self._wake.set()

    def leased(self, link: str, lease: Lease | None) -> None:
        """A DHCP server lent an address, or it was lost."""
        if lease is None:
            self._leases.pop(link, None)
        else:
            self._leases[link] = lease
        self.dirty()

    def link_local(self, link: str, address: str) -> None:
        """An IPv4 link-local address is free and ours; "" gives it up."""
        if address:
            self._link_local[link] = address
        else:
            self._link_local.pop(link, None)
        self.dirty()

    def failed(self, links: frozenset[str]) -> None:
        """These uplinks lead nowhere."""
        if links != self._failed:
            self._failed = links
            self.dirty()

    def listening(self, ports: tuple[int, ...]) -> None:
        """The mail process listens there."""
        if ports != self._listening:
            self._listening = ports
            self.dirty()

    def renew(self, link: str) -> None:
        """Ask the DHCP server of a link, or of all, anew."""
        for worker, _ in self._workers.values():
            ask = getattr(worker, "renew", None)
            if ask is not None and link in {"", worker.spec.link}:  # type: ignore[attr-defined]
                ask()

    # ── what others ask ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_settled(self) -> bool:
        """Whether the plan is applied and each DHCP client was answered or has given up for the first time."""
        return self.rounds > 0 and all(getattr(worker, "is_settled", True) for worker, _ in self._workers.values())

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the workers have to say."""
        return tuple(note for notes in self._worker_notes.values() for note in notes)

    # ── the work ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, report: Report) -> None:
        """Keep the network as planned. At the end it is left as it is, so that mail goes on."""
        watch = asyncio.create_task(self._watch(), name="network events")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_ANYWAY_S)
                await asyncio.sleep(COALESCE_S)
                self._wake.clear()
                if watch.done():
                    watch.result()
                await self._round(report)
        finally:
            watch.cancel()
            for _, task in self._workers.values():
                task.cancel()
            await asyncio.gather(watch, *(task for _, task in self._workers.values()), return_exceptions=True)
            self._workers.clear()
            self._advertisements.close()
            self._wake.set()

    async def _watch(self) -> None:
        try:
            async for event in self._kernel.events():
                if isinstance(event, k.DnsEvent):
                    self._advertisements.hear(event)
                self.dirty()
        finally:
            self.dirty()  # so that the loop sees that this has ended

    async def _round(self, report: Report) -> None:
        self.present = await self._kernel.read()
        self.plan = self._make_plan()
        outcome = await self._applier.apply(self.plan)
        for link in metric_changes(outcome.made):
            with contextlib.suppress(OSError):  # no carrier: the kernel asks by itself when there is one
                solicit(link)
        if outcome.made:
            self.present = await self._kernel.read()
        notes = [
            Note(source=self.name, level="warning", text=f"{text[0].upper()}{text[1:]}.")
            for text in outcome.words[len(outcome.made) :]
        ]
        notes += await self._firewall()
        self._write_resolvers()
        self._name_machine()
        self._staff()
        self.rounds += 1
        report(tuple(notes))
        self._changed()

    def _make_plan(self) -> Plan:
        inventory = Inventory(nics=tuple(link.nic for link in self.present.links))
        names = {nic.name for nic in inventory.nics}
        learned = Learned(
            leases=tuple((link, lease) for link, lease in self._leases.items() if link in names),
            advertised=self._advertisements.known(),
            advertised_routes=advertised_routes(self.present),
            link_local=tuple(self._link_local.items()),
            failed=self._failed,
            listening=self._listening,
            has_ssh_key=self._has_ssh_key(),
        )
        return make_plan(inventory, self._config, learned, hostname=self._hostname)

    async def _firewall(self) -> list[Note]:
        """Load the rules if they have changed, all or nothing."""
        rules = document(self.plan.firewall)
        if rules == self._rules:
            return []
        try:
            await asyncio.to_thread(self._load_rules, rules)
        except OSError as error:
            log.error("the firewall's rules were not taken, and are tried again: %s", error)
            asyncio.get_running_loop().call_later(self._rules_again_s, self.dirty)
            return [Note(source="firewall", level="error", text=f"The firewall's rules were not taken: {error}.")]
        self._rules = rules
        return []

    def _write_resolvers(self) -> None:
        wanted = (self.plan.dns, self.plan.search)
        if wanted != self._resolvers:
            write_resolv_conf(self._resolv_conf, *wanted)
            self._resolvers = wanted

    def _name_machine(self) -> None:
        if self.plan.hostname and self.plan.hostname != socket.gethostname():
            with contextlib.suppress(PermissionError):
                socket.sethostname(self.plan.hostname)

    def _staff(self) -> None:
        """Hire the workers that the plan wants, dismiss the others, and tell all what their link is like."""
        wanted = self._hire(self, self.plan)
        for key in [key for key in self._workers if key not in wanted]:
            worker, task = self._workers.pop(key)
            task.cancel()
            self._worker_notes.pop(worker.name, None)
            if key.kind == "dhcp":
                self.leased(worker.spec.link, None)  # type: ignore[attr-defined]
        for key, worker in wanted.items():
            if key not in self._workers:
                task = asyncio.create_task(self._keep(worker), name=worker.name)
                self._workers[key] = (worker, task)
        nics = {link.nic.name: link.nic for link in self.present.links}
        for worker, _ in self._workers.values():
            tell = getattr(worker, "carrier", None)
            nic = nics.get(worker.spec.link)  # type: ignore[attr-defined]
            if tell is not None:
                tell(nic is not None and nic.carrier, nic.carrier_changes if nic is not None else 0)

    async def _keep(self, part: Part) -> None:
        def report(facts: Facts) -> None:
            if isinstance(facts, tuple):
                self._worker_notes[part.name] = facts
                self._changed()

        await keep(part, report, clock=self._clock)
