"""Redirects, lists and the journal with Postfix as the outside: bounces come back through, by three different ways."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import Appliance, Certificate
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.e2e.postfix import Postfix
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.root(users=True)]

ANA, ARCHIVE, TEAM = "ana@palomar.test", "archive@palomar.test", "team@palomar.test"
GONE, LATE, LOST = "gone@palomar.test", "late@palomar.test", "lost@palomar.test"
INES = "ines@outside.test"
ZONE = """
outside       MX 10 mx.outside
third         MX 10 mx.outside
mx.outside    A  127.0.0.1
"""
SRS = re.compile(r"<(SRS0=[^=]{6}=[A-Z2-7]{2}=outside\.test=ines@palomar\.test)>")


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, port: int) -> Appliance:
    rules = f'[[journal.rules]]\nto = "{ARCHIVE}"\nof = ["{GONE}"]\n'
    made = make_appliance(
        accounts=(ANA, ARCHIVE, GONE),
        zone=ZONE,
        top='plugins = ["srs", "rewrite", "journal", "mda", "smtp", "imap4", "pop3", "relay"]',
        extra=f'[relay]\nport = {port}\nidle_seconds = 0.5\n[rewrite.outgoing]\n"{ANA}" = "ana77@third.test"\n{rules}',
    )
    made.command("account", "redirect", GONE, "gone@third.test", "--keep")
    made.command("alias", "add", LATE, "late@outside.test")
    made.command("alias", "add", LOST, "ghost@outside.test")
    made.command("list", "add", TEAM, INES, ANA, "--owner", ANA, "--title", "Our team", "--post", "members")
    return made


@pytest.fixture(scope="module")
def mx(appliance: Appliance, port: int, issue: Callable[..., Certificate]) -> Iterator[Postfix]:
    """The exchanger of both domains. What is for late@ it takes at the door, and is refused with it later."""
    settings = {"mynetworks": "192.0.2.1/32", "smtpd_relay_restrictions": "reject_unauth_destination"}
    postfix = Postfix(
        "mx.outside.test", settings, ports=[port], certificate=issue("mx.outside.test"),
        mail_domains="outside.test, third.test",
    )  # fmt: skip
    refusals = {"ghost@outside.test": "550 5.1.1 there are no ghosts"}
    postfix.set("smtpd_recipient_restrictions", f"check_recipient_access {postfix.table('access', refusals)}")
    back = f"smtp:[127.0.0.1]:{appliance.ports['mx']}"
    postfix.set("transport_maps", postfix.table("transport", {"palomar.test": back, "late@outside.test": back}))
    with postfix:
        yield postfix


def test_a_redirect_has_a_sender_of_ours_and_keeps_a_copy(appliance: Appliance, mx: Postfix) -> None:
    appliance.deliver(letters.plain("srs-forward", to=GONE, sender=INES), GONE, sender=INES)
    kept = mx.wait("srs-forward")
    assert SRS.fullmatch(letters.header_value(kept, "Return-Path"))
    assert f"Delivered-To: {GONE}\r\n".encode() in kept
    assert letters.header_value(inbox(appliance, "srs-forward", GONE), "Return-Path") == f"<{INES}>"
    report = inbox(appliance, "srs-forward", ARCHIVE)
    assert f"Sender: {INES}\r\n".encode() in report
    assert f": gone@third.test, Expanded: {GONE}\r\n".encode() in report
    # What would come back from there is a loop.
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
        smtp.sendmail(INES, [LATE], letters.plain("srs-other", sender=INES))
        with pytest.raises(smtplib.SMTPDataError) as caught:
            smtp.sendmail(INES, [LOST], f"Delivered-To: {LOST}\r\n".encode() + letters.plain("srs-loop", sender=INES))
    assert caught.value.smtp_code == 554


def test_a_bounce_of_the_other_server_comes_back_to_who_wrote(appliance: Appliance, mx: Postfix) -> None:
    appliance.deliver(letters.plain("srs-bounce", to=LATE, sender=INES), LATE, sender=INES)
    bounce = mx.wait("srs-bounce")  # Postfix's, by us, to ines' mailbox
    assert letters.header_value(bounce, "Return-Path") == "<>"
    assert letters.header_value(bounce, "X-Original-To") == INES
    assert b"Reporting-MTA: dns; mx.outside.test" in bounce
    assert b"Final-Recipient: rfc822; late@outside.test" in bounce


def test_a_failure_of_our_own_is_told_to_who_wrote(appliance: Appliance, mx: Postfix) -> None:
    appliance.deliver(letters.plain("srs-ghost", to=LOST, sender=INES), LOST, sender=INES)
    told = mx.wait("srs-ghost")
    assert letters.header_value(told, "X-Original-To") == INES
    assert f"To: <{INES}>\r\n".encode() in told
    assert f"Original-Recipient: rfc822; {LOST}\r\n".encode() in told
    assert b"Final-Recipient: rfc822; ghost@outside.test\r\n" in told


def test_a_forged_return_address_is_refused_at_the_door(appliance: Appliance) -> None:
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
        smtp.ehlo("mx.outside.test")
        assert smtp.mail("<>")[0] == 250
        code, text = smtp.rcpt("SRS0=AAAAAA=AA=victim.test=someone@palomar.test")
    assert (code, text.decode().partition(":")[0]) == (550, "5.1.1 This return address leads nowhere")


def test_a_list_goes_to_its_members_and_its_bounces_to_the_owner(
    appliance: Appliance, mx: Postfix, trust: Path
) -> None:
    appliance.deliver(letters.plain("list-hello", to=TEAM, sender=INES), TEAM, sender=INES)
    outside = mx.wait("list-hello")
    assert letters.header_value(outside, "Return-Path") == "<team-owner@palomar.test>"
    assert letters.header_value(outside, "List-Id") == "Our team <team.palomar.test>"
    inside = inbox(appliance, "list-hello")
    assert letters.header_value(inside, "Return-Path") == "<team-owner@palomar.test>"
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
        smtp.ehlo("mx.outside.test")
        smtp.mail("stranger@outside.test")
        assert smtp.rcpt(TEAM)[0] == 550
        smtp.rset()
        smtp.sendmail("", ["team-owner@palomar.test"], letters.plain("list-bounce", sender="mailer@outside.test"))
    assert letters.header_value(inbox(appliance, "list-bounce"), "Return-Path") == "<>"


def test_the_outside_knows_us_by_another_address(appliance: Appliance, mx: Postfix) -> None:
    appliance.command("send", "--from", ANA, INES, stdin=letters.plain("rewrite-out", to=INES, sender=ANA).decode())
    kept = mx.wait("rewrite-out")
    assert letters.header_value(kept, "Return-Path") == "<ana77@third.test>"
    assert "ana77@third.test" in letters.header_value(kept, "From")
