"""Keys and mail for the tests of signatures: one key of each kind, made once."""

from __future__ import annotations

import asyncio
import functools

from appliance.dns import Answer, NoSuchDomainError, TemporaryDnsError
from appliance.mail.message import Message
from plugins.spam.dkim.signing import SigningKey, generate, load_private, public_record, sign
from plugins.spam.dkim.verification import Bodies, Verdict, verify

TEXT = (
    b"From: Ana <ana@office.test>\r\nTo: luis@elsewhere.test\r\nSubject: Hello\r\n there\r\n"
    b"Date: Thu, 1 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@office.test>\r\n\r\nHow  are you? \r\n\r\n\r\n"
)
NOW = 1_767_261_600.0


@functools.cache
def key(kind: str, domain: str = "office.test") -> SigningKey:
    return SigningKey(domain, f"s{kind}", load_private(generate(kind)))


class Keys:
    """DNS with these keys' records; `records` may be changed."""

    def __init__(self, *keys: SigningKey) -> None:
        self.records: dict[str, bytes | Exception] = {
            f"{one.selector}._domainkey.{one.domain}": public_record(one.private).encode() for one in keys
        }

    async def look_up(self, name: str, rdtype: str) -> Answer:
        found = self.records.get(name)
        if found is None:
            raise NoSuchDomainError(name)
        if isinstance(found, Exception):
            raise TemporaryDnsError(str(found))
        return Answer((found,), 300)


def signed(one: SigningKey, text: bytes = TEXT, *, now: float | None = NOW) -> Message:
    message = Message.parse(text)
    digest = asyncio.run(Bodies(message).digest("relaxed"))
    return message.prepend(sign(message, one, digest, now=now))


def verdicts(message: Message, keys: Keys, *, now: float | None = NOW) -> list[Verdict]:
    return asyncio.run(verify(message, keys, now=now))
