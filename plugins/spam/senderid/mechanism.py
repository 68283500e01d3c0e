"""The hook: the policy of the purported responsible domain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.finding import Finding
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.senderid.config import SenderIdConfig
from plugins.spam.senderid.protocol_pra import of_pra, responsible
from plugins.spam.spf.evaluation import Asked, Verdict, check_host, peer_address


class SenderId:
    """Informative: it was abandoned by most, and says what SPF would say of the address that people see."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def authenticate_message(
        self, session: Session, message: Message, phase: Literal["mechanisms", "policy"]
    ) -> Sequence[Finding] | None:
        """One finding, `permerror` where nobody takes responsibility."""
        core = self._core
        if phase != "mechanisms" or not session.peer_ip:
            return None
        address = responsible(message)
        if address is None:
            return [Finding("senderid", "permerror", text="nobody takes responsibility for the message")]
        config, domain = core.settings[SenderIdConfig], to_ascii(address.domain)
        asked = Asked(peer_address(session.peer_ip), session.helo, f"{address.local}@{domain}")
        receiver = core.settings[CoreConfig].hostname
        try:
            async with asyncio.timeout(config.timeout):
                verdict = await check_host(
                    core.resolver, asked, domain, receiver=receiver, now=core.now(), choose=of_pra
                )
        except TimeoutError:
            verdict = Verdict("temperror", domain, why=f"no answer within {config.timeout:g} s")
        score = config.fail_score if verdict.result == "fail" else 0.0
        text = f"Sender-ID of {domain}: {verdict.explanation or verdict.why or verdict.mechanism or verdict.result}"
        return [Finding("senderid", verdict.result, score, text, f"sender-id={verdict.result} header.from={domain}")]
