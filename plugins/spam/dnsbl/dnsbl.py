"""The hook: all lists are asked at once, within one time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from appliance.core import Core
from appliance.dns import TemporaryDnsError
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.dmarc.suffixes import organization
from plugins.spam.dnsbl.config import DnsblConfig, DnsList
from plugins.spam.dnsbl.health import Health, ListError, ask
from plugins.spam.dnsbl.protocol_names import link_hosts, received_addresses, reversed_address

MAX_QUESTIONS = 200  # about one message


class Dnsbl:
    """Asks lists of peers, senders and links; keeps an eye on whether they can be believed."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._health: dict[DnsList, Health] = {}
        self._tests: set[asyncio.Task[None]] = set()

    @hookimpl
    async def score_message(self, session: Session, envelope: Envelope, message: Message) -> Sequence[Finding] | None:
        """One finding for each list that knows the peer, the sender or a link."""
        core = self._core
        if not core.intake.router.from_outside(session):
            return None
        config = core.settings[DnsblConfig]
        hits: list[tuple[DnsList, str, str]] = []
        questions = self._questions(config, session, envelope, message)
        try:
            async with asyncio.timeout(config.timeout):
                await asyncio.gather(*(self._ask(zone, name, shown, hits) for zone, name, shown in questions))
        except TimeoutError:
            pass  # those who answered in time count; the others are waited for by nobody
        return _findings(hits, config.most)

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """Lists that are left out, and why."""
        return [
            ("DNS list", f"{one.zone.zone} {one.problem}", "warning") for one in self._health.values() if one.problem
        ]

    def _questions(
        self, config: DnsblConfig, session: Session, envelope: Envelope, message: Message
    ) -> list[tuple[DnsList, str, str]]:
        """(list, name to ask for, what it stands for), for the lists that can be believed now."""
        now, made = time.monotonic(), list[tuple[DnsList, str, str]]()
        names: dict[str, dict[str, str]] = {}
        for zone in config.zones:
            health = self._health.setdefault(zone, Health(zone))
            if health.due(now):
                self._test(health, now)
            if not health.usable(now):
                continue
            kind = f"{zone.kind}+" if zone.received else zone.kind
            if kind not in names:
                names[kind] = _names(zone, session, envelope, message)
            made += [(zone, name, shown) for name, shown in names[kind].items()]
        return made[:MAX_QUESTIONS]

    def _test(self, health: Health, now: float) -> None:
        task = asyncio.get_running_loop().create_task(health.check(self._core, now))
        self._tests.add(task)
        task.add_done_callback(self._tests.discard)

    async def _ask(self, zone: DnsList, name: str, shown: str, hits: list[tuple[DnsList, str, str]]) -> None:
        health = self._health[zone]
        try:
            answer = await ask(self._core, zone, name)
        except ListError as error:
            health.failed(time.monotonic(), str(error))
        except TemporaryDnsError:
            health.failed(time.monotonic())
        else:
            health.answered()
            if answer:
                hits.append((zone, shown, answer))


def _names(zone: DnsList, session: Session, envelope: Envelope, message: Message) -> dict[str, str]:
    if zone.kind == "peers":
        addresses: Iterable[str] = [session.peer_ip] if session.peer_ip else []
        if zone.received:
            addresses = [*addresses, *received_addresses(message)]
        return {reversed_address(address): address for address in addresses}
    if zone.kind == "senders":
        hosts = [to_ascii(envelope.sender.domain)] if envelope.sender is not None else []
        hosts += [session.helo.lower()] if "." in session.helo and not session.helo.startswith("[") else []
    else:
        hosts = link_hosts(bytes(message.text))
    return {_asked_for(host): host for host in hosts}


def _asked_for(host: str) -> str:
    """Lists of domains know organisational ones; an address among the links is asked for backwards."""
    if host.replace(".", "").isdigit():
        return reversed_address(host)
    return organization(host)


def _findings(hits: Sequence[tuple[DnsList, str, str]], most: float) -> list[Finding]:
    """One finding for each list, heaviest first; together they weigh no more than `most`."""
    made, left = list[Finding](), most
    seen: set[DnsList] = set()
    for zone, shown, answer in sorted(hits, key=lambda hit: -hit[0].score):
        if zone in seen:
            continue
        seen.add(zone)
        score = min(zone.score, left) if zone.score > 0 else zone.score
        left -= max(0.0, score)
        what = {"peers": "peer", "senders": "sender", "links": "link"}[zone.kind]
        text = f"the {what} {shown} is on the list {zone.zone}"
        made.append(Finding("dnsbl", zone.zone, score, text, evidence=answer))
    return made
