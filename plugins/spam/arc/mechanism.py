"""The hooks: chains of strangers' mail are validated, mail that we send on gets a set of ours."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.envelope import Envelope
from appliance.mail.finding import Finding
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.arc.chain import Chain, validate
from plugins.spam.arc.config import ArcConfig
from plugins.spam.arc.sealing import seal
from plugins.spam.dkim.config import DkimConfig
from plugins.spam.dkim.keyring import Keyring
from plugins.spam.dkim.signing import SigningKey
from plugins.spam.dkim.verification import Bodies, verify

TIMEOUT_S = 25.0
REMEMBERED = 1000  # messages whose results wait for their way out; most leave within seconds
HASHED = 65_536  # octets of a text that tell two messages apart


class Arc:
    """Validates, and seals with the keys of DKIM."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._results: OrderedDict[bytes, str] = OrderedDict()

    @hookimpl
    async def authenticate_message(
        self,
        session: Session,
        envelope: Envelope,
        message: Message,
        phase: Literal["mechanisms", "policy"],
        findings: Sequence[Finding],
    ) -> Sequence[Finding] | None:
        """Whether the chain holds. `domain` of the finding is its last sealer if that is one we trust."""
        if phase != "mechanisms":
            return None
        chain = await self._validated(message)
        trusted = chain.sealers[-1] if chain.sealers and chain.sealers[-1] in self._config.trusted_sealers else ""
        words = {
            "none": "the message has no ARC chain",
            "pass": f"the chain of {', '.join(chain.sealers)} holds",
            "fail": f"the ARC chain is broken: {chain.why}",
        }[chain.result]
        evidence = chain.results[-1] if chain.result == "pass" and trusted else ""
        header = f"arc={chain.result}" + (f" (i={chain.count})" if chain.count else "")
        return [Finding("arc", chain.result, text=words, header=header, domain=trusted, evidence=evidence)]

    @hookimpl
    async def score_message(
        self, session: Session, message: Message, findings: Sequence[Finding]
    ) -> Sequence[Finding] | None:
        """Remember what authentication found, for a set that may be made on the way out."""
        clauses = [finding.header for finding in findings if finding.header]
        if self._config.seal and clauses:
            self._results[_key(message)] = ";\r\n ".join(clauses)
            while len(self._results) > REMEMBERED:
                self._results.popitem(last=False)
        return None

    @hookimpl(trylast=True)
    async def transform_outbound(self, envelope: Envelope, message: Message) -> Message | None:
        """Seal what an address of ours sends on to another system."""
        core, via = self._core, next((one.via for one in envelope.recipients if one.via), "")
        if not via or not self._config.seal or core.time_state == "unset":
            return None
        keys = self._keys(via.rpartition("@")[2])
        if not keys:
            return None
        results = self._results.get(_key(message)) or await self._verified(message)
        chain = await self._validated(message)
        digest = await Bodies(message).digest("relaxed")
        hostname = core.settings[CoreConfig].hostname
        return seal(message, keys[0], digest, chain=chain, results=results, authserv_id=hostname, now=core.now())

    def _keys(self, domain: str) -> list[SigningKey]:
        """What spam.dkim signs with; ARC verifiers need not know Ed25519 (RFC 8617 section 4.1.3)."""
        if not any(section.cls is DkimConfig for section in self._core.settings.sections):
            return []
        return [key for key in Keyring(self._core).signers(to_ascii(domain)) if key.algorithm == "rsa-sha256"]

    async def _validated(self, message: Message) -> Chain:
        core = self._core
        try:
            async with asyncio.timeout(TIMEOUT_S):
                now = core.now() if core.time_state != "unset" else None
                return await validate(message, core.resolver, now=now)
        except TimeoutError:
            return Chain("fail", f"no answer within {TIMEOUT_S:g} s", temporary=True)

    async def _verified(self, message: Message) -> str:
        """The results that can still be had: the peer is gone, its signatures are not."""
        verdicts = await verify(message, self._core.resolver, now=self._core.now())
        return ";\r\n ".join(f"dkim={one.result} header.d={one.domain or 'unknown'}" for one in verdicts) or "none"

    @property
    def _config(self) -> ArcConfig:
        return self._core.settings[ArcConfig]


def _key(message: Message) -> bytes:
    made = hashlib.sha256(bytes(message.text[:HASHED]))
    for name in (b"from", b"message-id", b"date"):
        made.update(b"\0" + (message.get(name) or b""))
    return made.digest()
