"""Postfix as the mail exchanger that we find in DNS: delivery, refusals, patience, and every kind of notification."""

from __future__ import annotations

import email
import email.message
import re
import smtplib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, Certificate, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.postfix import Postfix, without_delivery_fields
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.root(users=True)]

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
INES = "ines@outside.test"
ZONE = """
outside       MX 10 gone.outside
outside       MX 20 mx.outside
gone.outside  A  127.0.0.9
mx.outside    A  127.0.0.1
second        MX 10 mx.outside
third         A  127.0.0.1
nowhere       MX 10 mx.nowhere
mx.nowhere    A  127.0.0.9
shy           MX 0 .
"""


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, port: int, trust: Path) -> Appliance:
    verified = '[relay.tls_by_domain]\n"second.test" = "verified"\n'
    made = make_appliance(
        zone=ZONE,
        extra=f"[relay]\nport = {port}\nidle_seconds = 0.5\n{verified}",
        inside={"tls": f'trust = "{trust}"', "queue": "first_retry = 10"},
    )
    made.command("account", "redirect", LUIS, "luis@third.test")
    return made


@pytest.fixture(scope="module")
def mx(appliance: Appliance, port: int, issue: Callable[..., Certificate]) -> Iterator[Postfix]:
    """A mail exchanger for three domains that can also send back to us."""
    settings = {
        "mynetworks": "192.0.2.1/32",
        "smtpd_relay_restrictions": "reject_unauth_destination",
        "smtpd_tls_loglevel": "1",
        "smtputf8_enable": "yes",
    }
    postfix = Postfix(
        "mx.outside.test", settings, ports=[port], certificate=issue("mx.outside.test"),
        mail_domains="outside.test, second.test, third.test",
    )  # fmt: skip
    refusals = {
        "ghost@outside.test": "550 5.1.1 there are no ghosts",
        "later@outside.test": "450 4.2.0 come back later",
    }
    postfix.set("smtpd_recipient_restrictions", f"check_recipient_access {postfix.table('access', refusals)}")
    # One is taken at the door, and refused only when it is passed on (to us, who will not relay it).
    back = f"smtp:[127.0.0.1]:{appliance.ports['mx']}"
    postfix.set("transport_maps", postfix.table("transport", {"palomar.test": back, "late@outside.test": back}))
    with postfix:
        yield postfix


def submit(
    appliance: Appliance, message: bytes, *recipients: str, options: Sequence[str] = (), mail: Sequence[str] = ()
) -> None:
    """Send as ana, with options for every RCPT and for MAIL."""
    with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], timeout=60) as smtp:
        smtp.login(ANA, PASSWORD)
        body = [] if message.isascii() else ["BODY=8BITMIME"]
        assert smtp.sendmail(ANA, recipients, message, [*body, *mail], list(options)) == {}


def report(bounce: bytes) -> tuple[email.message.Message, dict[str, str]]:
    """A notification (RFC 3464): the whole, and the fields of its first recipient."""
    message = email.message_from_bytes(bounce)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    text, status, returned = message.get_payload()
    assert text.get_content_type() == "text/plain"
    assert status.get_content_type() == "message/delivery-status"
    assert returned.get_content_type() in {"message/rfc822", "text/rfc822-headers"}
    recipient = status.get_payload()[1]
    return message, {name.lower(): str(value) for name, value in recipient.items()}


def test_mail_goes_to_the_exchanger_that_answers(appliance: Appliance, mx: Postfix) -> None:
    sent = letters.awkward("mx-first", to=INES, sender=ANA)
    submit(appliance, sent, INES)
    kept = mx.wait("mx-first")
    assert letters.as_sent(without_delivery_fields(kept), hops=2) == sent
    assert letters.header_value(kept, "Return-Path") == f"<{ANA}>"
    assert " with ESMTPS " in letters.header_value(kept, "Received")  # encrypted, though nobody asked for it
    assert appliance.queued == []


def test_a_domain_without_mx_and_one_with_a_verified_certificate(appliance: Appliance, mx: Postfix) -> None:
    sent = letters.plain("mx-two-domains", sender=ANA)
    submit(appliance, sent, "one@third.test", "two@second.test")
    found = wait_for(lambda: [one for one in mx.mailbox() if b"mx-two-domains" in one][1:], "two messages")
    assert found


def test_a_redirected_account(appliance: Appliance, mx: Postfix) -> None:
    sent = letters.awkward("mx-redirect", to=LUIS)
    appliance.deliver(sent, LUIS)
    kept = mx.wait("mx-redirect")
    assert letters.as_sent(without_delivery_fields(kept), hops=2) == sent
    assert letters.header_value(kept, "X-Original-To") == "luis@third.test"


def test_many_recipients_large_octets_and_utf8(appliance: Appliance, mx: Postfix) -> None:
    sent = letters.with_attachment("mx-large", letters.noise(4_000_000), to="inés@outside.test", sender=ANA)
    with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], timeout=60) as smtp:
        smtp.login(ANA, PASSWORD)
        recipients = ["inés@outside.test", *(f"reader{number}@outside.test" for number in range(20))]
        assert smtp.sendmail(ANA, recipients, sent, ["SMTPUTF8"]) == {}
    found = wait_for(
        lambda: (all_ := [one for one in mx.mailbox() if b"mx-large" in one])[20:] and all_, "21 copies", 30
    )
    assert {letters.as_sent(without_delivery_fields(one), hops=2) for one in found} == {sent}
    assert len({letters.header_value(one, "Delivered-To") for one in found}) == 21
    mx.wait_until_alone()
    assert re.search(r"disconnect .* bdat=\d+", mx.log.read_text())  # by CHUNKING


def test_a_refusal_comes_back_as_a_report(appliance: Appliance, mx: Postfix) -> None:
    sent = letters.awkward("mx-ghost", to="ghost@outside.test", sender=ANA)
    submit(appliance, sent, "ghost@outside.test", INES, mail=["RET=FULL", "ENVID=batch+2B7"])
    bounce = inbox(appliance, "mx-ghost")
    message, fields = report(bounce)
    assert letters.header_value(bounce, "Return-Path") == "<>"
    assert letters.header_value(bounce, "Delivered-To") == ANA
    assert fields["action"] == "failed"
    assert fields["status"] == "5.1.1"
    assert fields["final-recipient"].replace(" ", "") == "rfc822;ghost@outside.test"
    assert "there are no ghosts" in fields["diagnostic-code"]
    assert "mx.outside.test" in fields["remote-mta"]
    per_message = message.get_payload()[1].get_payload()[0]
    assert per_message["Original-Envelope-Id"] == "batch+7"
    assert sent in bounce  # RET=FULL
    assert letters.as_sent(without_delivery_fields(mx.wait("mx-ghost")), hops=2) == sent  # the other one has it


def test_a_deferred_message_is_delivered_later(appliance: Appliance, mx: Postfix) -> None:
    submit(appliance, letters.plain("mx-later", sender=ANA), "later@outside.test", INES)
    mx.wait("mx-later")  # ines does not have to wait
    row = wait_for(lambda: [one for one in appliance.queued if one["attempts"]], "a deferral")[0]
    assert row["recipient"] == "later@outside.test"
    assert row["last_reply"].startswith("450 4.2.0 ")
    assert row["last_reply"].endswith("come back later")
    mx.wait_until_alone()
    mx.table("access", {"ghost@outside.test": "550 5.1.1 there are no ghosts"})
    mx.reload()
    appliance.command("queue", "retry", "outside.test")
    found = wait_for(lambda: [one for one in mx.mailbox() if b"mx-later" in one][1:], "the other copy")
    assert letters.header_value(found[0], "X-Original-To") == "later@outside.test"
    assert appliance.queued == []


def test_hold_release_and_remove(appliance: Appliance, mx: Postfix) -> None:
    for name in ("held", "removed"):
        submit(appliance, letters.plain(f"mx-{name}", sender=ANA), f"{name}@nowhere.test")
    rows = wait_for(
        lambda: (all_ := [one for one in appliance.queued if one["attempts"]])[1:] and all_,
        "two deferrals",
    )
    assert {"held@nowhere.test", "removed@nowhere.test"} == {row["recipient"] for row in rows}
    by_name = {row["recipient"].partition("@")[0]: row["name"] for row in rows}
    appliance.command("queue", "remove", by_name["removed"], "--yes")
    appliance.command("queue", "hold", by_name["held"])
    assert [row["recipient"] for row in appliance.queued] == ["held@nowhere.test"]
    appliance.zone = ZONE.replace("mx.nowhere    A  127.0.0.9", "mx.nowhere    A  127.0.0.1")
    appliance.write_config()
    appliance.reload()
    appliance.command("queue", "retry", "--all")
    assert [row["recipient"] for row in appliance.queued] == ["held@nowhere.test"]
    appliance.command("queue", "release", by_name["held"])
    bounce = inbox(appliance, "mx-held")  # that Postfix is not for nowhere.test
    assert "Relay access denied" in report(bounce)[1]["diagnostic-code"]
    with Reader(appliance) as reader:
        assert reader.find(b"mx-removed") == []


@pytest.mark.parametrize(("recipient", "status"), [("x@shy.test", "5.1.10"), ("x@missing.test", "5.1.2")])
def test_domains_that_take_no_mail(appliance: Appliance, mx: Postfix, recipient: str, status: str) -> None:
    subject = f"mx-none-{status}"
    submit(appliance, letters.plain(subject, sender=ANA), recipient)
    _, fields = report(inbox(appliance, subject))
    assert fields["status"] == status


def test_success_is_told_by_who_delivers(appliance: Appliance, mx: Postfix) -> None:
    submit(appliance, letters.plain("mx-success", sender=ANA), INES, options=["NOTIFY=SUCCESS", f"ORCPT=rfc822;{INES}"])
    mx.wait("mx-success")
    told = inbox(appliance, "mx-success")
    _, fields = report(told)
    assert fields["action"] == "delivered"
    assert fields["final-recipient"].replace(" ", "") == f"rfc822;{INES}"
    assert b"mx.outside.test" in told  # their report, not ours


def test_success_is_told_by_us_where_they_cannot(appliance: Appliance, mx: Postfix) -> None:
    mx.wait_until_alone()
    mx.set("smtpd_discard_ehlo_keywords", "dsn, chunking, smtputf8, pipelining")
    mx.reload()
    submit(appliance, letters.plain("mx-relayed", sender=ANA), "juan@third.test", options=["NOTIFY=SUCCESS,FAILURE"])
    kept = mx.wait("mx-relayed")
    assert letters.as_sent(without_delivery_fields(kept), hops=2) == letters.plain("mx-relayed", sender=ANA)
    _, fields = report(inbox(appliance, "mx-relayed"))
    assert fields["action"] == "relayed"
    submit(appliance, letters.plain("mx-local", to=ANA, sender=ANA), ANA, options=["NOTIFY=SUCCESS"])
    with Reader(appliance) as reader:
        wait_for(lambda: len(reader.find(b"mx-local")) == 2, "the message and the report of its delivery")
        _, fields = report(next(one for one in reader.find(b"mx-local") if b"multipart/report" in one))
        assert fields["action"] == "delivered"


def test_nobody_is_told_who_does_not_want_to_be(appliance: Appliance, mx: Postfix) -> None:
    submit(appliance, letters.plain("mx-never", sender=ANA), "ghost@outside.test", options=["NOTIFY=NEVER"])
    wait_for(lambda: "relay" in str(rows := appliance.ask("trace", "ghost@outside.test")) and rows, "the refusal")
    wait_for(lambda: appliance.queued == [], "an empty queue")
    with Reader(appliance) as reader:
        assert reader.find(b"mx-never") == []


def test_a_bounce_from_outside_reaches_the_sender(appliance: Appliance, mx: Postfix) -> None:
    submit(appliance, letters.plain("mx-late", to="late@outside.test", sender=ANA), "late@outside.test")
    bounce = inbox(appliance, "mx-late")
    _, fields = report(bounce)
    assert "Relaying denied" in fields["diagnostic-code"]
    assert "MAILER-DAEMON@mx.outside.test" in letters.header_value(bounce, "From")
