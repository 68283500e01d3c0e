"""The hook: the topmost DomainKeys signature of a stranger's mail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from appliance.core import Core
from appliance.dns import TemporaryDnsError
from appliance.hookspecs import hookimpl
from appliance.mail.finding import Finding
from appliance.mail.headers import Field
from appliance.mail.message import Message
from appliance.mail.session import Session
from plugins.spam.dkim.keys import Key, Names, fetch_key
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dkim.verification import LARGE
from plugins.spam.domainkeys.config import DomainKeysConfig
from plugins.spam.domainkeys.protocol_domainkeys import FIELD, Signature, read_signature, sending_address, signed_octets

MAX_TEXT = 8 << 20  # octets of a text that is looked at: it is held in memory several times


class DomainKeys:
    """Informative: nothing is built on a pass, since whoever signs today signs by DKIM."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def authenticate_message(
        self, session: Session, message: Message, phase: Literal["mechanisms", "policy"]
    ) -> Sequence[Finding] | None:
        """One finding for a message that is signed."""
        if phase != "mechanisms":
            return None
        field = next((one for one in message.fields() if one.name == FIELD), None)
        if field is None:
            return None
        config, name = self._core.settings[DomainKeysConfig], "nobody"
        try:
            signature = read_signature(field.value)
            name = signature.domain
            async with asyncio.timeout(config.timeout):
                result, why = await verify(message, signature, field.start, self._core.resolver)
        except TagError as error:
            result, why = "permerror", str(error)
        except (TemporaryDnsError, TimeoutError) as error:
            result, why = "temperror", str(error) or f"no answer within {config.timeout:g} s"
        text = f"DomainKeys signature of {name}: {why or result}"
        header = f"domainkeys={result}" + (f" header.d={name}" if name != "nobody" else "")
        return [Finding("domainkeys", result, config.fail_score if result == "fail" else 0.0, text, header)]


async def verify(message: Message, signature: Signature, start: int, names: Names) -> tuple[str, str]:
    """Verify a signature that begins at `start` of the header: the result, and why unless it passed.

    Raises TagError for what breaks the rules, TemporaryDnsError.
    """
    fields = [one for one in message.fields() if one.start > start]
    if len(message.text) > MAX_TEXT:
        return "neutral", "the message is too large to be worth a look"
    address = sending_address(fields)
    if address is None:
        raise TagError("there is no sending address below it")
    if address.domain != signature.domain and not address.domain.endswith("." + signature.domain):
        raise TagError(f"{address.field} is not of the domain d=")
    if signature.signed and address.field not in signature.signed:
        raise TagError(f"{address.field} is not signed")
    key = await fetch_key(names, signature.key_name)
    if not key.record.grants(address.local):
        raise TagError("the key is not for this address (g=)")
    good = await _proven(key, message, fields, signature)
    if good:
        return "pass", ""
    return ("neutral", "its domain only tries it out") if key.record.testing else ("fail", "the message was changed")


async def _proven(key: Key, message: Message, fields: Sequence[Field], signature: Signature) -> bool:
    def prove() -> bool:
        return key.proves(signature.value, signed_octets(message, fields, signature), "sha1")

    return await asyncio.to_thread(prove) if len(message.text) > LARGE else prove()
