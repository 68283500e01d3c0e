"""The hook: the record of the author's domain, for mail that DMARC has proven and others could not send."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from appliance.core import Core
from appliance.dns import NoSuchDomainError, TemporaryDnsError
from appliance.hookspecs import hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.bimi.config import BimiConfig
from plugins.spam.bimi.protocol_bimi import DEFAULT, Record, enforces, is_record, read_record, read_selector
from plugins.spam.dkim.protocol_signature import read_signature
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.suffixes import organization

_SELECTOR = b"bimi-selector"
_MAX_SIGNATURES = 8


class Bimi:
    """Informative: it tells where the picture is, and fetches nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def score_message(self, message: Message, findings: Sequence[Finding]) -> Sequence[Finding] | None:
        """One finding where the author's domain has a record."""
        proven = next((one for one in findings if one.name == "dmarc" and one.result == "pass"), None)
        if proven is None or not enforces(proven.evidence):
            return None
        core, author = self._core, proven.domain
        selector = _selector(message, findings)
        try:
            async with asyncio.timeout(core.settings[BimiConfig].timeout):
                found = await self._find(author, organization(author, core.settings[DmarcConfig].suffix_list), selector)
        except TagError as error:
            return [_finding("fail", author, selector, f"the record of {author}: {error}")]
        except (TemporaryDnsError, TimeoutError):
            return [_finding("temperror", author, selector, f"the record of {author} could not be looked up")]
        if found is None:
            return None
        domain, record = found
        if record.declined:
            return [_finding("declined", domain, selector, f"{domain} wants no picture shown")]
        return [
            _finding(
                "pass", domain, selector, f"{domain} shows {record.location or 'what a certificate holds'}", record
            )
        ]

    async def _find(self, author: str, of: str, selector: str) -> tuple[str, Record] | None:
        """The record of the author's domain, else of its organisational domain. Raises TagError, TemporaryDnsError."""
        for domain in dict.fromkeys((author, of)):
            try:
                answer = await self._core.resolver.look_up(f"{selector}._bimi.{domain}", "TXT")
            except NoSuchDomainError:
                continue
            records = [text for text in answer.records if is_record(text)]
            if len(records) > 1:
                raise TagError("there is more than one")
            if records:
                return domain, read_record(records[0])
        return None


def _selector(message: Message, findings: Sequence[Finding]) -> str:
    """What BIMI-Selector names, if a signature that is right covers the field: whoever adds one chooses nothing."""
    values = message.get_all(_SELECTOR)
    if len(values) != 1:
        return DEFAULT
    signers = {one.domain for one in findings if one.name == "dkim" and one.result == "pass"}
    for value in message.get_all(b"dkim-signature")[:_MAX_SIGNATURES]:
        try:
            signature = read_signature(value)
        except TagError:
            continue
        if signature.domain in signers and _SELECTOR.decode() in signature.signed:
            return read_selector(values[0])
    return DEFAULT


def _finding(result: str, domain: str, selector: str, text: str, record: Record | None = None) -> Finding:
    header = f"bimi={result} header.d={domain} header.selector={selector}"
    if record is not None:
        # The certificate is not fetched, so nobody has vouched for the picture.
        header += " policy.authority=none" + (f' policy.authority-uri="{record.authority}"' if record.authority else "")
        header += f' policy.indicator-uri="{record.location}"' if record.location else ""
    return Finding("bimi", result, text=text, header=header, evidence=record.location if record is not None else "")
