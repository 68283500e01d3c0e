"""The hooks: signatures of strangers' mail are verified, mail of our own people is signed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from appliance.core import Core
from appliance.errors import NotFoundError
from appliance.hookspecs import DnsRecord, Service, StatusLine, hookimpl
from appliance.mail.address import normal_domain
from appliance.mail.authors import read_authors
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.dkim.config import DkimConfig
from plugins.spam.dkim.keyring import Keyring
from plugins.spam.dkim.signing import SigningKey, sign
from plugins.spam.dkim.verification import Bodies, Verdict, verify

TIMEOUT_S = 25.0


class Dkim:
    """Both halves; `keyring` holds what the second signs with."""

    def __init__(self, core: Core, keyring: Keyring) -> None:
        self._core = core
        self._keyring = keyring

    @hookimpl
    async def authenticate_message(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        phase: Literal["mechanisms", "policy"],
        findings: Sequence[Finding],
    ) -> Sequence[Finding] | None:
        """One finding for each signature, or that there is none."""
        core = self._core
        if phase != "mechanisms":
            return None
        now = core.now() if core.time_state != "unset" else None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                verdicts = await verify(message, core.resolver, now=now)
        except TimeoutError:
            verdicts = [Verdict("temperror", why=f"no answer within {TIMEOUT_S:g} s")]
        config = core.settings[DkimConfig]
        if not verdicts:
            return [Finding("dkim", "none", text="The message is not signed", header="dkim=none")]
        passed = any(verdict.result == "pass" and not verdict.testing for verdict in verdicts)
        return [_finding(verdict, config, passed=passed, first=verdict is verdicts[0]) for verdict in verdicts]

    @hookimpl(trylast=True)
    async def message_received(self, session: Session, message: Message) -> Message | None:
        """Sign what people of ours send, after all other plugins have changed it."""
        if not self._core.intake.router.may_relay(session):
            return None
        return await self._signed(message)

    @hookimpl(trylast=True)
    async def message_written(self, message: Message) -> Message | None:
        """Sign what the appliance itself has written."""
        return await self._signed(message)

    async def _signed(self, message: Message) -> Message | None:
        core = self._core
        if not core.settings[DkimConfig].sign:
            return None
        domain = read_authors(message).domain
        keys = self._signers(domain) if domain else []
        if not keys:
            return None
        digest = await Bodies(message).digest("relaxed")
        now = core.now() if core.time_state != "unset" else None
        return message.prepend(b"".join(sign(message, key, digest, now=now) for key in keys))

    @hookimpl
    def dns_records(self, core: Core, domain: str) -> Sequence[DnsRecord]:
        """The public halves of the domain's keys."""
        return [
            DnsRecord(entry.name, "TXT", entry.record, _purpose(entry.stored.published_at, entry.stored.replaced_at))
            for entry in self._keyring.entries(to_ascii(domain))
        ]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """Domains of ours whose mail is not signed, since their keys are not in DNS."""
        if not core.settings[DkimConfig].sign:
            return []
        bare = [domain for domain in self._keyring.domains() if not self._keyring.signers(domain)]
        if not bare:
            return []
        return [("DKIM", f"mail of {', '.join(bare)} is not signed: publish `palomar domain dns {bare[0]}`", "warning")]

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """What looks after the keys."""
        return [self._keyring]

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What `palomar dkim` asks."""
        return [
            ("dkim.list", self._list),
            ("dkim.make", self._make),
            ("dkim.remove", self._remove),
            ("dkim.look", self._look),
        ]

    async def _list(self, core: Core) -> list[dict[str, Any]]:
        return [
            {
                "domain": entry.stored.domain,
                "selector": entry.stored.selector,
                "kind": entry.stored.kind,
                "state": _purpose(entry.stored.published_at, entry.stored.replaced_at),
                "made_at": entry.stored.made_at,
                "published_at": entry.stored.published_at,
                "replaced_at": entry.stored.replaced_at,
                "name": entry.name,
                "record": entry.record,
            }
            for entry in self._keyring.entries()
        ]

    async def _make(self, core: Core, *, domain: str) -> list[dict[str, Any]]:
        name = to_ascii(normal_domain(domain))
        if name not in self._keyring.domains():
            raise NotFoundError(f"{domain} is no domain of ours with mailboxes")
        await self._keyring.make(name)
        return [one for one in await self._list(core) if one["domain"] == name]

    async def _remove(self, core: Core, *, domain: str, selector: str) -> None:
        if not await self._keyring.remove(to_ascii(normal_domain(domain)), selector):
            raise NotFoundError(f"{domain} has no DKIM key {selector}")

    async def _look(self, core: Core) -> list[dict[str, Any]]:
        await self._keyring.look()
        return await self._list(core)

    def _signers(self, domain: str) -> list[SigningKey]:
        """Keys of the author's domain, or of the nearest above it that is ours."""
        labels = domain.split(".")
        for start in range(len(labels) - 1):
            if keys := self._keyring.signers(".".join(labels[start:])):
                return keys
        return []


def _finding(verdict: Verdict, config: DkimConfig, *, passed: bool, first: bool) -> Finding:
    result = "neutral" if verdict.testing and verdict.result != "pass" else verdict.result
    score = config.pass_score if first and passed else 0.0
    if not passed and first and result in {"fail", "policy"}:
        score = config.fail_score
    words = f"signed by {verdict.domain}"
    if result != "pass":
        words = f"signature of {verdict.domain or 'nobody'}: {verdict.why or 'its domain only tries DKIM out'}"
    header = f"dkim={result}"
    if verdict.domain:
        header += f" header.d={verdict.domain} header.s={verdict.selector} header.a={verdict.algorithm}"
        header += f' header.b="{verdict.value}"'
    place = f"{verdict.selector}._domainkey.{verdict.domain}" if verdict.domain else ""
    return Finding("dkim", result, score, words, header, evidence=place, domain=verdict.domain)


def _purpose(published_at: int | None, replaced_at: int | None) -> str:
    if published_at is None:
        return "DKIM key, not seen in DNS yet: mail is signed by it once it is there"
    if replaced_at is not None:
        return "DKIM key, replaced: leave it there until it is not listed any more"
    return "DKIM key in use"
