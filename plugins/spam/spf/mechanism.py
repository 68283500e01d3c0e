"""The hook: the policies of the sender's domain and of the HELO name, for mail that comes from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.spf.config import SpfConfig
from plugins.spam.spf.evaluation import Asked, Verdict, check_host, peer_address


class Spf:
    """Checks both identities of RFC 7208 section 2 side by side; they share the resolver's cache."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def authenticate_message(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        phase: Literal["mechanisms", "policy"],
        findings: Sequence[Finding],
    ) -> Sequence[Finding] | None:
        """What the policies say of this peer."""
        if phase != "mechanisms" or not session.peer_ip:
            return None
        config = self._core.settings[SpfConfig]
        checks = [self._check(session, f"postmaster@{session.helo}", session.helo, config)]
        if envelope.sender is not None:
            checks.append(self._check(session, _text(envelope.sender), _ascii(envelope.sender), config))
        verdicts = await asyncio.gather(*checks)
        found = [_of_helo(verdicts[0], config)]
        if envelope.sender is None:  # RFC 7208 section 2.4: a bounce is checked by the HELO name
            found.append(_of_sender(verdicts[0], f"smtp.helo={session.helo}", config))
        else:
            found.append(_of_sender(verdicts[1], f"smtp.mailfrom={_ascii(envelope.sender)}", config))
        return [finding for finding in found if finding is not None]

    async def _check(self, session: Session, sender: str, domain: str, config: SpfConfig) -> Verdict:
        core = self._core
        asked = Asked(peer_address(session.peer_ip), session.helo, sender)
        try:
            async with asyncio.timeout(config.timeout):
                return await check_host(
                    core.resolver, asked, domain, receiver=core.settings[CoreConfig].hostname, now=core.now()
                )
        except TimeoutError:
            return Verdict("temperror", domain, why=f"no answer within {config.timeout:g} s")


def _text(sender: Address) -> str:
    return f"{sender.local}@{_ascii(sender)}"


def _ascii(sender: Address) -> str:
    return to_ascii(sender.domain)


def _of_sender(verdict: Verdict, identity: str, config: SpfConfig) -> Finding:
    scores = {
        "pass": config.pass_score, "fail": config.fail_score, "softfail": config.softfail_score,
        "permerror": config.error_score,
    }  # fmt: skip
    return Finding(
        "spf",
        verdict.result,
        scores.get(verdict.result, 0.0),
        _words(verdict),
        header=f"spf={verdict.result} {identity}",
        domain=verdict.domain,
    )


def _of_helo(verdict: Verdict, config: SpfConfig) -> Finding | None:
    if verdict.result != "fail":
        return None
    return Finding("spf_helo", "fail", config.helo_fail_score, _words(verdict), domain=verdict.domain)


def _words(verdict: Verdict) -> str:
    domain = verdict.domain
    words = {
        "none": f"{domain} does not say who may send for it",
        "neutral": f"{domain} does not say whether this server may send for it",
        "pass": f"{domain} lets this server send for it",
        "fail": f"{domain} does not let this server send for it",
        "softfail": f"{domain} thinks that this server should not send for it",
        "temperror": f"the policy of {domain} could not be looked up",
        "permerror": f"the policy of {domain} breaks the rules",
    }[verdict.result]
    more = verdict.explanation or verdict.why or verdict.mechanism
    return f"{words}: {more}" if more else words
