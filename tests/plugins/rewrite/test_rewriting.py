"""The role in an office: whose mail is rewritten, where, and what is left alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.config import CoreConfig, Section, Settings
from appliance.document import Document
from appliance.errors import ConfigError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.settings import settings_from
from appliance.store.queue import list_queue
from plugins import rewrite
from plugins.mda.config import MdaConfig
from plugins.rewrite.config import RewriteConfig
from tests.appliance.office import Office, office

OWN = {"account": "ana@palomar.test"}
MESSAGE = Message.parse(
    b"From: Ana <ana@pc7.palomar.test>\r\nTo: Luis <luis@old.test>\r\nCc: ana@palomar.test\r\n"
    b"Subject: x\r\n\r\nbody\r\n"
)


class Outside:
    """Stands in for smart hosts chosen by sender, and for the relay role."""

    @hookimpl(trylast=True)
    async def route_recipient(self, envelope: Envelope, recipient: Recipient) -> Route:
        sender = str(envelope.sender)
        return Route("smarthost", "isp") if sender.endswith("@isp.test") else Route("relay", recipient.address.domain)


@pytest.fixture
async def o(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path, ("rewrite", rewrite), ("relay", Outside())) as made:
        configure(made)
        yield made


def configure(o: Office, **settings: Any) -> None:
    o.core.settings = Settings.of(o.core.settings[CoreConfig], MdaConfig(), RewriteConfig(**settings))


async def queued(o: Office) -> list[tuple[str, str, str, bytes]]:
    """Sender, recipient, transport and octets of what waits."""
    return [
        (
            str(message.sender or "<>"),
            str(entry.recipient.address),
            entry.route.transport,
            bytes(await o.store.load(message.body_id)),
        )
        for message, entry in o.store.peek(list_queue)
    ]


async def test_our_own_mail_gets_its_canonical_addresses_everywhere(o: Office) -> None:
    configure(o, masquerade=("palomar.test",), canonical={"@old.test": "@new.test"})
    await o.send("luis@old.test", sender="ana@pc7.palomar.test", message=MESSAGE, **OWN)
    ((sender, recipient, _, raw),) = await queued(o)
    assert (sender, recipient) == ("ana@palomar.test", "luis@new.test")
    assert raw == bytes(MESSAGE).replace(b"@pc7.", b"@").replace(b"@old.test", b"@new.test")


async def test_of_a_stranger_s_mail_only_the_recipient_of_the_envelope_changes(o: Office) -> None:
    configure(
        o, masquerade=("palomar.test",), canonical={"@old.test": "@new.test", "info@palomar.test": "ana@palomar.test"}
    )
    await o.send("info@palomar.test", sender="luis@old.test", message=MESSAGE)
    (filed,) = await o.inbox("ana@palomar.test")
    assert filed.endswith(bytes(MESSAGE))
    assert filed.startswith(b"Return-Path: <luis@old.test>\r\nDelivered-To: ana@palomar.test\r\n")
    assert (await o.rcpt(o.begin(), "luis@old.test")).code == 550  # no relay is opened by it


@pytest.mark.parametrize(
    ("settings", "sender", "recipient", "header"),
    [
        ({"sender": {"ana@pc7.palomar.test": "a@isp.test"}}, "a@isp.test", "luis@old.test", b"<a@isp.test>"),
        ({"recipient": {"luis@old.test": "l@new.test"}}, "ana@pc7.palomar.test", "l@new.test", b"<l@new.test>"),
        ({"canonical": {"@old.test": "@new.test"}, "classes": ("envelope_recipient",)},
         "ana@pc7.palomar.test", "luis@new.test", b"luis@old.test"),
        ({"canonical": {"@old.test": "@new.test"}, "classes": ("header_recipient",)},
         "ana@pc7.palomar.test", "luis@old.test", b"luis@new.test"),
        ({"masquerade": ("palomar.test",), "masquerade_classes": ("header_sender",)},
         "ana@pc7.palomar.test", "luis@old.test", b"<ana@palomar.test>"),
        ({"masquerade": ("palomar.test",), "masquerade_exceptions": ("ANA",)},
         "ana@pc7.palomar.test", "luis@old.test", b"ana@pc7.palomar.test"),
    ],
)  # fmt: skip
async def test_where_each_setting_works(
    o: Office, settings: dict[str, Any], sender: str, recipient: str, header: bytes
) -> None:
    configure(o, **settings)
    await o.send("luis@old.test", sender="ana@pc7.palomar.test", message=MESSAGE, **OWN)
    ((found_sender, found_recipient, _, raw),) = await queued(o)
    assert (found_sender, found_recipient) == (sender, recipient)
    assert header in raw


async def test_the_way_is_that_of_the_new_sender(o: Office) -> None:
    configure(o, sender={"ana@palomar.test": "ana@isp.test"})
    await o.send("luis@old.test", sender="ana@palomar.test", message=MESSAGE, **OWN)
    ((sender, _, transport, _),) = await queued(o)
    assert (sender, transport) == ("ana@isp.test", "smarthost")


async def test_mail_from_programs_here_is_our_own(o: Office) -> None:
    configure(o, masquerade=("palomar.test",))
    to = [Recipient(Address.parse("luis@old.test"))]
    sender = Address.parse("cron@pc7.palomar.test")
    await o.intake.submit(MESSAGE, sender, to, origin="send", arrived=True)
    await o.intake.submit(MESSAGE, sender, to, origin="redirect")
    ((first, _, _, raw), (second, _, _, untouched)) = await queued(o)
    assert (first, second) == ("cron@palomar.test", "cron@pc7.palomar.test")
    assert b"Ana <ana@palomar.test>" in raw
    assert untouched == bytes(MESSAGE)


async def outgoing(
    o: Office, sender: str | None, message: Message, transport: str = "relay", to: str = "x@y.test"
) -> Any:
    envelope, route = (
        Envelope(Address.parse(sender) if sender else None, [Recipient(Address.parse(to))]),
        Route(transport),
    )
    changed = await o.core.dispatch.transform_outbound(envelope=envelope, message=message, route=route)
    if envelope.sender is None:
        return None, changed
    return await o.core.dispatch.outbound_sender(envelope=envelope, via="", route=route), changed


async def test_addresses_for_the_outside_are_put_in_as_mail_leaves(o: Office) -> None:
    configure(o, outgoing={"ana@palomar.test": "ana77@isp.test"})
    message = Message.parse(b"Received: x\r\nFrom: <ana@palomar.test>\r\nCc: b@y.test, ana@palomar.test\r\n\r\n")
    sender, changed = await outgoing(o, "ana+x@palomar.test", message)
    assert str(sender) == "ana77+x@isp.test"
    assert changed.header == b"Received: x\r\nFrom: <ana77@isp.test>\r\nCc: b@y.test, ana77@isp.test\r\n\r\n"
    for unchanged in (
        await outgoing(o, "ana@palomar.test", message, transport="local"),
        await outgoing(o, "ana@palomar.test", message, transport="list"),
        await outgoing(o, "ana@palomar.test", message, to="luis@palomar.test"),  # an inner server of ours
        await outgoing(o, "luis@elsewhere.test", message),  # sent on for a stranger: its signature must stay whole
        await outgoing(o, None, message),  # as well a stranger's notice
    ):
        assert unchanged == (None, message)
    notice = Message.parse(b"From: ana@palomar.test\r\n\r\n")
    assert (await outgoing(o, None, notice))[1].header == b"From: ana77@isp.test\r\n\r\n"


async def test_nothing_configured_changes_nothing(o: Office) -> None:
    assert await outgoing(o, "ana@palomar.test", MESSAGE) == (None, MESSAGE)
    await o.send("luis@old.test", sender="ana@pc7.palomar.test", message=MESSAGE, **OWN)
    assert (await queued(o))[0][3] == bytes(MESSAGE)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ({"sender": {"ana": "b@c.test"}}, "[rewrite.sender.ana] 'ana' is no address"),
        ({"sender": {"a@b.test": "c"}}, "[rewrite.sender.\"a@b.test\"] 'c' is no address"),
        ({"canonical": {"@b.test": "a@c.test"}}, "a whole domain cannot become the address 'a@c.test'"),
        ({"canonical": {"@-": "@c.test"}}, "'@-' is no domain"),
        ({"recipient": {"a@b.test": "ñ@c.test"}}, "'ñ@c.test' is not ASCII"),
        ({"outgoing": {"a@b.test": "c@d.test", "@d.test": "@e.test"}}, "'c@d.test' is rewritten itself."),
        ({"outgoing": {"@a.test": "@b.test", "@b.test": "@a.test"}}, "'@b.test' is rewritten itself."),
        ({"classes": ["header"]}, "[rewrite.classes[0]] must be one of"),
        ({"masquerade": ["no domain"]}, "[rewrite.masquerade] 'no domain' is no domain"),
        ({"masquerade": ["b.test", "!a.b.test"]}, "'!a.b.test' would never count: 'b.test' before it decides."),
    ],
)
def test_settings_that_cannot_be(toml: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        settings_from(Document({"rewrite": toml}, Path("palomar.toml"), {}), [Section("rewrite", RewriteConfig)])
