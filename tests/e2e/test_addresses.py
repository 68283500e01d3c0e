"""Whose mail it is, seen from outside: aliases, sub-addresses, catch-all, redirects, quotas, application passwords."""

from __future__ import annotations

import email
import imaplib
import poplib
import smtplib

import pytest

from appliance.mail.dsnparse import parse
from appliance.mail.message import Message
from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.sink import Sink
from tests.ports import free_ports

pytestmark = pytest.mark.e2e

ANA, LUIS, FULL, AWAY = "ana@palomar.test", "luis@palomar.test", "full@palomar.test", "away@palomar.test"


@pytest.fixture(scope="module")
def relay_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, relay_port: int) -> Appliance:
    return make_appliance(
        accounts=(ANA, LUIS, FULL, AWAY),
        zone="away MX 10 mx.away\nmx.away A 127.0.0.1\n",
        inside={"mda": "file_by_detail = true"},
        extra=f"[relay]\nport = {relay_port}\n",
    )


def refusal(appliance: Appliance, recipient: str, *, size: int = 0) -> tuple[int, str]:
    """What the MX port says to a recipient."""
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
        smtp.ehlo("mx.example.org")
        assert smtp.mail(letters.SENDER, [f"SIZE={size}"] if size else [])[0] == 250
        code, text = smtp.rcpt(recipient)
        return code, text.decode()


def test_an_alias_leads_to_several(appliance: Appliance) -> None:
    appliance.command("alias", "add", "staff@palomar.test", ANA, LUIS)
    sent = letters.plain("for-staff", to="staff@palomar.test")
    appliance.deliver(sent, "staff@palomar.test")
    for account in (ANA, LUIS):
        assert letters.as_sent(inbox(appliance, "for-staff", account)) == sent
    appliance.command("alias", "remove", "staff@palomar.test")
    assert refusal(appliance, "staff@palomar.test")[0] == 550


def test_a_domain_is_passed_on_to_its_next_hop(appliance: Appliance, relay_port: int) -> None:
    assert refusal(appliance, "anybody@inside.test")[0] == 550
    appliance.command("domain", "add", "inside.test", "--kind", "relay", "--next-hop", "127.0.0.1")
    with Sink(relay_port) as sink:
        appliance.deliver(letters.plain("passed-on"), "anybody@inside.test")
        assert sink.take().recipients == ["anybody@inside.test"]
    appliance.command("domain", "remove", "inside.test")
    assert refusal(appliance, "anybody@inside.test")[0] == 550


def test_an_alias_of_an_alias_and_the_same_account_twice(appliance: Appliance) -> None:
    appliance.command("alias", "add", "sales@palomar.test", LUIS, "boss@palomar.test")
    appliance.command("alias", "add", "boss@palomar.test", LUIS)
    sent = letters.plain("for-sales")
    appliance.deliver(sent, "sales@palomar.test", LUIS)
    assert letters.as_sent(inbox(appliance, "for-sales", LUIS)) == sent  # `inbox` wants it there once


def test_a_sub_address_goes_to_its_owner(appliance: Appliance) -> None:
    appliance.deliver(letters.plain("for-detail"), "Ana+shop@PALOMAR.test")
    assert letters.header_value(inbox(appliance, "for-detail"), "Delivered-To").lower() == "ana+shop@palomar.test"


def test_a_sub_address_with_a_mailbox_of_that_name(appliance: Appliance) -> None:
    appliance.command("mailbox", "create", ANA, "lists")
    appliance.deliver(letters.plain("for-lists"), "ana+lists@palomar.test")
    with Reader(appliance) as reader:
        reader.wait("for-lists", "lists")
        assert reader.find(b"for-lists") == []


def test_catch_all(appliance: Appliance) -> None:
    assert refusal(appliance, "whoever@palomar.test")[0] == 550
    appliance.command("domain", "add", "second.test")
    appliance.command("domain", "catch-all", "second.test", LUIS)
    appliance.deliver(letters.plain("for-whoever"), "whoever@second.test")
    inbox(appliance, "for-whoever", LUIS)
    appliance.command("domain", "catch-all", "second.test")
    assert refusal(appliance, "whoever@second.test")[0] == 550
    appliance.command("domain", "remove", "second.test")
    assert refusal(appliance, "whoever@second.test") == (550, refusal(appliance, "x@elsewhere.test")[1])


def test_postmaster_is_always_there(appliance: Appliance) -> None:
    sent = letters.plain("for-postmaster")
    appliance.deliver(sent, "postmaster@palomar.test", "PostMaster@mail.palomar.test")
    assert letters.as_sent(inbox(appliance, "for-postmaster")) == sent


def test_a_redirect_leaves_the_house_with_the_bytes_as_received(appliance: Appliance, relay_port: int) -> None:
    appliance.command("account", "redirect", AWAY, "ana@away.test")
    sent = letters.awkward("for-away", to=AWAY)
    with Sink(relay_port) as sink:
        appliance.deliver(sent, AWAY)
        taken = sink.take()
    assert taken.recipients == ["ana@away.test"]
    assert letters.as_sent(taken.message) == sent
    appliance.command("account", "redirect", AWAY)
    appliance.deliver(letters.plain("home-again"), AWAY)
    inbox(appliance, "home-again", AWAY)
    with Reader(appliance, AWAY) as reader:
        assert reader.count() == 1


def test_quota(appliance: Appliance) -> None:
    appliance.command("account", "quota", FULL, "1M")
    appliance.deliver(letters.with_attachment("fits", letters.noise(500_000), to=FULL), FULL)
    inbox(appliance, "fits", FULL)
    code, text = refusal(appliance, FULL, size=900_000)
    assert code in {452, 552}
    assert "4.2.2" in text or "5.2.2" in text
    with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)):
        appliance.deliver(letters.with_attachment("does not fit", letters.noise(600_000), to=FULL), FULL)
    imap = imaplib.IMAP4("127.0.0.1", appliance.ports["imap"], timeout=60)
    imap.login(FULL, PASSWORD)
    status, said = imap.append("Sent", "", "", letters.with_attachment("nor here", letters.noise(600_000)))
    assert status == "NO"
    assert b"[OVERQUOTA]" in said[0]
    with Reader(appliance, FULL) as reader:
        assert reader.count() == 1
        reader.clear()
    appliance.deliver(letters.with_attachment("fits again", letters.noise(600_000), to=FULL), FULL)
    inbox(appliance, "fits again", FULL)
    imap.logout()


def test_a_disabled_account(appliance: Appliance) -> None:
    appliance.command("account", "redirect", AWAY, "ana@away.test")
    appliance.command("account", "disable", AWAY)
    assert refusal(appliance, AWAY)[0] == 550
    with pytest.raises(imaplib.IMAP4.error), Reader(appliance, AWAY):
        pass
    appliance.command("account", "redirect", AWAY)
    assert refusal(appliance, AWAY)[0] == 550
    appliance.command("account", "enable", AWAY)
    assert refusal(appliance, AWAY)[0] == 250
    with Reader(appliance, AWAY):
        pass


def test_application_passwords(appliance: Appliance) -> None:
    made = appliance.ask("account", "app-password", "add", ANA, "phone")
    login, password = made["login"], made["password"]
    assert login == "ana+phone@palomar.test"
    with Reader(appliance, login, password) as reader:
        reader.append(letters.plain("by-phone"), "Sent")
    with Reader(appliance) as reader:
        reader.wait("by-phone", "Sent")  # it is the same account
    with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], timeout=60) as smtp:
        smtp.login(login, password)
        smtp.sendmail(ANA, LUIS, letters.plain("sent-by-phone", sender=ANA))
    inbox(appliance, "sent-by-phone", LUIS)
    pop = poplib.POP3("127.0.0.1", appliance.ports["pop3"], timeout=60)
    pop.user(login)
    pop.pass_(password)
    pop.quit()
    for wrong in ((login, PASSWORD), (ANA, password)):
        with pytest.raises(imaplib.IMAP4.error), Reader(appliance, *wrong):
            pass
    assert [one["label"] for one in appliance.ask("account", "app-password", "list", ANA)] == ["phone"]
    appliance.command("account", "app-password", "remove", ANA, "phone")
    with pytest.raises(imaplib.IMAP4.error), Reader(appliance, login, password):
        pass
    with Reader(appliance):
        pass


def test_a_new_password_counts_at_once(appliance: Appliance) -> None:
    appliance.command("account", "password", AWAY, "--password-stdin", stdin="another one\n")
    with pytest.raises(imaplib.IMAP4.error), Reader(appliance, AWAY):
        pass
    with Reader(appliance, AWAY, "another one"):
        pass


def test_mail_to_a_refused_forward_comes_back(appliance: Appliance, relay_port: int) -> None:
    with Sink(relay_port, refuse="550 5.1.1 nobody of that name") as sink:
        with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], timeout=60) as smtp:
            smtp.login(ANA, PASSWORD)
            smtp.sendmail(ANA, "ghost@away.test", letters.plain("to-ghost", to="ghost@away.test", sender=ANA))
        bounce = inbox(appliance, "to-ghost")
        assert sink.refused == ["ghost@away.test"]
    assert letters.header_value(bounce, "Return-Path") == "<>"
    report = email.message_from_bytes(bounce)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    parsed = parse(Message.parse(bounce))
    assert parsed is not None
    assert b"nobody of that name" in bounce


def test_a_notice_to_the_postmaster_that_fails_ends_there(appliance: Appliance, relay_port: int) -> None:
    appliance.command("account", "redirect", AWAY, "one@away.test")
    appliance.command("account", "redirect", ANA, "postmaster@away.test")  # the first account is the postmaster's
    with Sink(relay_port, refuse="550 5.1.1 nobody of that name") as sink:
        appliance.deliver(letters.plain("no way back"), AWAY, sender="")
        wait_for(lambda: len(sink.refused) == 2, "the notice to the postmaster")
        wait_for(lambda: appliance.queued == [], "an empty queue")
        assert sink.refused == ["one@away.test", "postmaster@away.test"]
    appliance.command("account", "redirect", AWAY)
    appliance.command("account", "redirect", ANA)
