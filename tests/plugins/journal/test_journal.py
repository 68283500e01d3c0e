"""The journal: which messages are kept, once, with their envelope; and that nothing of it touches the mail itself."""

from __future__ import annotations

import email
import re
from collections.abc import AsyncIterator
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from appliance.config import CoreConfig, Section, Settings
from appliance.document import Document
from appliance.errors import ConfigError, QuotaError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.settings import settings_from
from appliance.store.queue import list_queue
from plugins import journal
from plugins.journal.config import JournalConfig, JournalRule
from plugins.mda.config import MdaConfig
from tests.appliance.office import MESSAGE, Office, office

ARCHIVE, LUIS = "archive@palomar.test", "luis@elsewhere.test"
OWN: dict[str, Any] = {"sender": "ana@palomar.test", "account": "ana@palomar.test"}


class Outside:
    """Stands in for the relay role."""

    @hookimpl(trylast=True)
    async def route_recipient(self, recipient: Recipient) -> Route:
        return Route("relay", recipient.address.domain)


@pytest.fixture
async def o(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path, ("journal", journal), ("relay", Outside())) as made:
        await made.account(ARCHIVE)
        configure(made, JournalRule(to=ARCHIVE))
        yield made


def configure(o: Office, *rules: JournalRule) -> None:
    o.core.settings = Settings.of(o.core.settings[CoreConfig], MdaConfig(), JournalConfig(rules=rules))


async def kept(o: Office) -> list[EmailMessage]:
    found = [email.message_from_bytes(raw, policy=policy.default) for raw in await o.inbox(ARCHIVE)]
    return [one for one in found if isinstance(one, EmailMessage)]


def parts(one: EmailMessage) -> tuple[list[str], bytes]:
    text, attached = one.iter_parts()
    return text.get_content().splitlines(), attached.get_payload()[0].as_bytes(policy=policy.SMTP)


async def test_a_report_holds_the_envelope_and_the_message(o: Office) -> None:
    await o.alias("info@palomar.test", "luis@palomar.test", "c@elsewhere.test")
    message = Message.parse(
        b"From: ana@palomar.test\r\nTo: B <b@elsewhere.test>\r\nCc: info@palomar.test\r\nMessage-ID: <1@x>\r\n"
        b"Subject: Offer\r\n\r\nSee below.\r\n"
    )
    to = ["b@elsewhere.test", "info@palomar.test", "secret@elsewhere.test"]
    assert (await o.send(*to, message=message, **OWN)).positive
    (one,) = await kept(o)
    lines, original = parts(one)
    assert lines == [
        "Sender: ana@palomar.test",
        "Subject: Offer",
        "Message-Id: <1@x>",
        "To: b@elsewhere.test",
        "Cc: c@elsewhere.test, Expanded: info@palomar.test",
        "Cc: luis@palomar.test, Expanded: info@palomar.test",
        "Bcc: secret@elsewhere.test",
    ]
    assert original == bytes(message)
    assert (one["subject"], one["return-path"], one["x-ms-journal-report"]) == ("Offer", "<>", "")
    assert one["auto-submitted"] == "auto-generated"
    (filed,) = await o.inbox("luis@palomar.test")
    assert filed.endswith(bytes(message))  # and nobody else sees who got a blind copy
    bodies = [bytes(await o.store.load(message.body_id)) for message, _ in o.store.peek(list_queue)]
    assert set(bodies) == {bytes(message)}


async def test_a_copy_has_the_envelope_in_its_header(o: Office) -> None:
    configure(o, JournalRule(to=ARCHIVE, form="copy"))
    await o.send("ana@palomar.test", "luis@palomar.test")
    (raw,) = await o.inbox(ARCHIVE)
    assert raw.endswith(bytes(MESSAGE))
    head = b"X-Envelope-From: <luis@elsewhere.test>\r\nX-Envelope-To: <ana@palomar.test>,\r\n <luis@palomar.test>\r\n"
    assert head in raw


@pytest.mark.parametrize(
    ("rule", "mail", "count"),
    [
        ({"of": ("ana@palomar.test",)}, (LUIS, "ana+x@palomar.test"), 1),
        ({"of": ("ana@palomar.test",)}, (LUIS, "luis@palomar.test"), 0),
        ({"of": ("ana@palomar.test",)}, ("ana", LUIS), 1),
        ({"of": ("ana@palomar.test",)}, ("luis", LUIS), 0),
        ({"of": ("ana@palomar.test",)}, ("luis", "ana@palomar.test"), 1),
        ({"of": ("ana@palomar.test",)}, ("ana@palomar.test", "luis@palomar.test"), 0),  # whoever that was
        ({"of": ("info@palomar.test",)}, (LUIS, "info@palomar.test"), 1),
        ({"of": ("palomar.test",), "directions": ("incoming",)}, (LUIS, "ana@palomar.test"), 1),
        ({"of": ("palomar.test",), "directions": ("incoming",)}, ("ana", LUIS), 0),
        ({"of": ("palomar.test",), "directions": ("incoming",)}, ("ana", "luis@palomar.test"), 0),
        ({"directions": ("outgoing",)}, ("ana", LUIS), 1),
        ({"directions": ("outgoing",)}, ("ana", "luis@palomar.test"), 0),
        ({"directions": ("internal",)}, ("ana", "luis@palomar.test"), 1),
        ({"directions": ("internal",)}, (LUIS, "luis@palomar.test"), 0),
        ({"of": ("elsewhere.test",)}, (LUIS, "ana@palomar.test"), 0),  # ours alone can be chosen
        ({"of": ("gone@palomar.test",)}, (LUIS, "gone@palomar.test"), 1),
    ],
)
async def test_whose_mail_is_kept(o: Office, rule: dict[str, Any], mail: tuple[str, str], count: int) -> None:
    await o.alias("info@palomar.test", "luis@palomar.test")
    await o.account("gone@palomar.test", redirect="new@third.test")
    configure(o, JournalRule(to=ARCHIVE, **rule), JournalRule(to=ARCHIVE, of=("nobody@palomar.test",)))
    sender, recipient = mail
    account = {"account": f"{sender}@palomar.test"} if "@" not in sender else {}
    assert (await o.send(recipient, sender=account.get("account", sender), **account)).positive
    assert len(await kept(o)) == count


async def test_each_archive_gets_a_message_once(o: Office) -> None:
    rules = [JournalRule(to=ARCHIVE), JournalRule(to="Archive@palomar.test", of=("ana@palomar.test",))]
    configure(o, *rules, JournalRule(to="vault@elsewhere.test"))
    await o.send("ana@palomar.test", "luis@palomar.test")
    assert len(await kept(o)) == 1
    ((message, entry),) = o.store.peek(list_queue)
    assert (message.sender, str(entry.recipient.address), entry.recipient.notify) == (
        None, "vault@elsewhere.test", frozenset(),
    )  # fmt: skip
    assert [accepted.queue_id for accepted, *_ in o.queued] == [message.id]


async def test_an_archive_that_is_full_or_unknown_keeps_no_mail_up(o: Office) -> None:
    await o.store.write(lambda db: (db.execute("UPDATE account SET quota_bytes = 1 WHERE name = ?", (ARCHIVE,)),
                                    db.touch_directory()))  # fmt: skip
    configure(o, JournalRule(to=ARCHIVE), JournalRule(to="nobody@palomar.test"))
    assert (await o.send("ana@palomar.test")).positive
    assert len(await o.inbox("ana@palomar.test")) == 1
    waiting = [(str(entry.recipient.address), entry.route.transport) for _, entry in o.store.peek(list_queue)]
    assert waiting == [(ARCHIVE, "local"), ("nobody@palomar.test", "local")]


async def test_an_archive_that_fills_up_at_the_last_moment(o: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = o.store.accept
    calls = []

    async def racing(*arguments: Any, **named: Any) -> Any:
        calls.append(named["also"])
        if len(calls) == 1:
            raise QuotaError("account 3 would pass its quota")
        return await accept(*arguments, **named)

    monkeypatch.setattr(o.store, "accept", racing)
    assert (await o.send("ana@palomar.test")).positive
    assert [len(one.filings) for one in calls[0]] == [1]
    assert [(len(one.filings), len(one.wishes)) for one in calls[1]] == [(0, 1)]
    assert len(await o.inbox("ana@palomar.test")) == 1


async def test_a_journal_that_breaks_is_logged_and_the_mail_goes_on(o: Office, caplog: Any) -> None:
    o.core.settings = Settings.of(o.core.settings[CoreConfig], MdaConfig())
    assert (await o.send("ana@palomar.test")).positive
    assert "plugin journal raised KeyError" in caplog.text


async def test_notices_of_last_resort_are_not_kept(o: Office) -> None:
    never = Recipient(Address.parse("ana@palomar.test"), frozenset({"NEVER"}))
    await o.intake.submit(MESSAGE, None, [never], origin="bounce")
    assert await kept(o) == []
    await o.intake.submit(MESSAGE, None, [Recipient(never.address)], origin="bounce")
    assert len(await kept(o)) == 1


async def test_an_archive_that_refuses_shows_in_the_status(o: Office) -> None:
    refused = Outcome(Recipient(Address.parse(ARCHIVE)), "failed", Reply(550, "5.7.1", "No"))
    o.core.dispatch.delivery_settled(envelope=Envelope(None), outcome=refused)
    await o.core.dispatch.settle()
    lines = [line for plugin, line in o.core.dispatch.gather("status", core=o.core) if plugin == "journal"]
    assert lines == [(f"journal {ARCHIVE}", "refuses copies: 550 5.7.1 No", "error")]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"Subject: x\r\n\r\n\xe9\r\n", "message/rfc822"),
        (b"Subject: \xc3\xb1\r\n\r\nplain", "message/global"),
        (b"", "message/rfc822"),
        (b"no header\r\n", "message/rfc822"),
    ],
)
async def test_octets_that_are_no_ascii_come_through(o: Office, raw: bytes, kind: str) -> None:
    message = Message.parse(raw)
    await o.send("ana@palomar.test", message=message)
    (stored,) = await o.inbox(ARCHIVE)
    assert raw in stored
    (one,) = await kept(o)
    assert [part.get_content_type() for part in one.iter_parts()] == ["text/plain", kind]


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ({}, "[journal.rules[0].to] must be set."),
        ({"to": "x"}, "[journal.rules[0].to] 'x' is no address"),
        ({"to": ARCHIVE, "of": ["@"]}, "[journal.rules[0].of] '@' is neither an address nor a domain"),
        ({"to": ARCHIVE, "directions": []}, "directions] is empty"),
        ({"to": ARCHIVE, "directions": ["up"]}, "must be one of 'incoming', 'outgoing', 'internal', not 'up'"),
    ],
)
def test_settings_that_cannot_be(toml: dict[str, Any], words: str) -> None:
    document = Document({"journal": {"rules": [toml]}}, Path("palomar.toml"), {})
    with pytest.raises(ConfigError, match=re.escape(words)):
        settings_from(document, [Section("journal", JournalConfig)])
