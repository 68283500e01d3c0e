"""Composition attacks through a running appliance's SPF, DKIM and DMARC: what readers see is what was checked.

The cases are those of "Composition Kills" (USENIX Security 2020), and more of their kind. `evil.test` may send from
here and signs; `legit.test` asks to reject what it has not sent.
"""

from __future__ import annotations

import base64
import smtplib
from functools import cache

import pytest

from plugins.spam.dkim.signing import public_record
from tests.e2e.appliance_process import Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.plugins.spam.dkim import signed_mail

pytestmark = pytest.mark.e2e

ANA, EVIL = "ana@palomar.test", "any@evil.test"
KEY = signed_mail.key("ed25519", "evil.test")
REFUSED, TAKEN, NO_SENDER = 550, 250, 501
NO_AUTHOR = b"nobody can tell who the author is"
NOT_SENT = b"legit.test, which did not send it"


@cache
def zone() -> str:
    return f"""
evil TXT "v=spf1 ip4:127.0.0.0/8 -all"
legit TXT "v=spf1 -all"
_dmarc.legit TXT "v=DMARC1; p=reject"
{KEY.selector}._domainkey.evil TXT "{public_record(KEY.private)}"
"""


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    plugins = '"spam.spf", "spam.dkim", "spam.arc", "spam.dmarc", "spam.judge"'
    return make_appliance(
        top=f'plugins = [{plugins}, "mda", "smtp", "imap4", "pop3", "smarthost", "relay"]',
        zone=zone(),
        inside={"auth": ""},
    )


def word(text: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="


def sent(appliance: Appliance, message: bytes, sender: str = EVIL) -> tuple[int, bytes]:
    """The reply to DATA, or to MAIL where that was refused; octets go as they are."""
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], local_hostname="evil.test", timeout=60) as smtp:
        smtp.ehlo()
        code, text = smtp.docmd("MAIL", f"FROM:<{sender}>")
        if code != 250:
            return code, text
        assert smtp.docmd("RCPT", f"TO:<{ANA}>")[0] == 250
        assert smtp.docmd("DATA")[0] == 354
        smtp.sock.sendall(message + b"\r\n.\r\n")
        return smtp.getreply()


LEGIT = "admin@legit.test"
SEVERAL, LIKE, STRAY = b"several From", b"looks like From", b"stray"
HEADERS = [  # the lines of From, what the reply is, and what it says
    ("several", f"From: <a@evil.test>\r\nFrom: <{LEGIT}>", REFUSED, SEVERAL),
    ("several-apart", f"From: <{LEGIT}>\r\nX: y\r\nfrOM: <a@evil.test>", REFUSED, SEVERAL),
    # A message that begins in the middle of a field is no header for us: all of it is text.
    ("space-before", f" From: <a@evil.test>\r\nFrom: <{LEGIT}>", REFUSED, b"no From field"),
    ("space-before-ours", f" From: <{LEGIT}>\r\nFrom: <a@evil.test>", REFUSED, b"no From field"),
    ("space-behind", f"From: <a@evil.test>\r\nFrom : <{LEGIT}>", REFUSED, SEVERAL),
    ("folded-name", f"X: y\r\nFrom\r\n : <a@evil.test>\r\nFrom: <{LEGIT}>", REFUSED, LIKE),
    ("folded-name-alone", f"X: y\r\nFrom\r\n : <{LEGIT}>", REFUSED, LIKE),
    ("name-with-more", f"From;: <{LEGIT}>\r\nFrom: <a@evil.test>", REFUSED, LIKE),
    ("name-with-8-bit", f"X: y\r\nFrom\xa0: <{LEGIT}>\r\nFrom: <a@evil.test>", REFUSED, LIKE),
    ("none-but-sender", f"Sender: <{LEGIT}>", REFUSED, b"no From field"),
    ("none-but-resent", f"Resent-From: <{LEGIT}>", REFUSED, b"no From field"),
    ("two-addresses", f"From: <a@evil.test>, <{LEGIT}>\r\nSender: <a@evil.test>", REFUSED, NOT_SENT),
    ("two-without-comma", f"From: <a@evil.test> <{LEGIT}>", REFUSED, b"two addresses without a comma"),
    ("encoded", f"From: {word(f'<{LEGIT}>')},<a@evil.test>", REFUSED, b"address in an encoded word"),
    ("encoded-name", f"From: {word(f'<{LEGIT}>')} <a@evil.test>", REFUSED, NOT_SENT),
    ("encoded-alone", f"From: {word(LEGIT)}", REFUSED, b"address in an encoded word"),
    ("route", f"From: <@evil.test,@any.test:{LEGIT}>", REFUSED, b"between < and > is no address"),
    ("quoted-pair", f"From: <{LEGIT}>\\,<a@evil.test>", REFUSED, STRAY),
    ("precedence", f"From: {LEGIT},<a@evil.test>", REFUSED, NOT_SENT),
    ("text-behind", f"From: <a@evil.test>{LEGIT}", REFUSED, b"more text behind an address"),
    ("text-before", f"From: {LEGIT} <a@evil.test>", REFUSED, NOT_SENT),
    ("comment-with-address", f"From: a@evil.test ({LEGIT})", REFUSED, NOT_SENT),
    ("comment-inside", f"From: <{LEGIT}(>,<)a@evil.test>", REFUSED, b"between < and > is no address"),
    ("comment-in-address", f"From: {LEGIT}(x)evil.test", REFUSED, b"comment within an address"),
    ("comment-open", f"From: <a@evil.test> ({LEGIT}", REFUSED, b"comment without an end"),
    ("comment-quoted", f'From: "(" <{LEGIT}> ")" <a@evil.test>', REFUSED, b"more text behind an address"),
    ("quote-open", f'From: "<a@evil.test> <{LEGIT}>', REFUSED, STRAY),
    ("angles", f"From: <<a@evil.test>{LEGIT}>", REFUSED, b"between < and > is no address"),
    ("two-ats", f"From: <{LEGIT}@evil.test>", REFUSED, b"between < and > is no address"),
    ("blank-inside", "From: <admin@legit.test evil.test>", REFUSED, b"between < and > is no address"),
    ("folded-inside", "From: <admin@legit.test\r\n evil.test>", REFUSED, b"between < and > is no address"),
    ("literal", "From: <admin@[127.0.0.1]>", REFUSED, b"between < and > is no address"),
    ("group", f"From: {LEGIT}: <a@evil.test>;", REFUSED, b"colon behind an address"),
    ("empty-group", "From: admin:;", REFUSED, b"holds no address"),
    ("empty", "From:", REFUSED, b"holds no address"),
    ("control", f"From: <{LEGIT}\x08\x08>", REFUSED, b"control characters"),
    ("legal-group", "From: people: <a@evil.test>;", TAKEN, b""),
    ("legal-comment", "From: a@evil.test (Any Body)", TAKEN, b""),
    ("legal-quoted", f'From: "{LEGIT}" <a@evil.test>', TAKEN, b""),  # a name, for people to judge and for heuristics
    ("legal-folded", 'From:\r\n "Body, Any"\r\n <a@evil.test>', TAKEN, b""),
    ("legal-two", "From: <a@evil.test>, b@evil.test\r\nSender: <a@evil.test>", TAKEN, b""),
    ("legal-encoded", f"From: {word('Ánà Body')} <a@evil.test>", TAKEN, b""),
    ("comma-in-name", "From: Body, Any <a@evil.test>", TAKEN, b""),
    ("mbox-line", "X: y\r\nFrom: a@evil.test", TAKEN, b""),
]


@pytest.mark.parametrize(("name", "lines", "code", "says"), HEADERS, ids=[one[0] for one in HEADERS])
def test_an_author(appliance: Appliance, name: str, lines: str, code: int, says: bytes) -> None:
    message = f"{lines}\r\nTo: {ANA}\r\nSubject: {name}\r\n\r\nHello\r\n".encode("latin-1")
    said, text = sent(appliance, message)
    assert (said, says in text, text) == (code, True, text)
    if code == TAKEN:
        filed = inbox(appliance, name)
        assert b"dmarc=none header.from=evil.test" in filed


SENDERS = [
    ("any@nowhere.legit.test", REFUSED),  # a name below that does not exist, HELO passes
    ("(any@legit.test", NO_SENDER),
    ("any@legit.test(a.evil.test", NO_SENDER),
    ("any@legit.test'@any.evil.test", NO_SENDER),
    ("@legit.test,@any.test:'any@evil.test", REFUSED),
    ("", REFUSED),  # HELO proves evil.test alone
]


@pytest.mark.parametrize(("sender", "code"), SENDERS)
def test_a_sender_that_proves_something_else(appliance: Appliance, sender: str, code: int) -> None:
    message = f"From: <{LEGIT}>\r\nTo: {ANA}\r\nSubject: sender\r\n\r\nHello\r\n".encode()
    assert sent(appliance, message, sender)[0] == code


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"d=evil.test", b"d=legit.test", REFUSED),
        (b"d=evil.test", b"d=legit.test'.evil.test", REFUSED),
        (b"d=evil.test", b"d=legit.test(.evil.test", REFUSED),
        (b"d=evil.test", b"d=legit.test; d=evil.test", REFUSED),
        (b"s=", b"s=x._domainkey.evil.test.\0.", 554),
    ],
)
def test_a_signature_that_proves_something_else(appliance: Appliance, old: bytes, new: bytes, code: int) -> None:
    text = f"From: <{LEGIT}>\r\nTo: {ANA}\r\nSubject: signed\r\n\r\nHello\r\n".encode()
    signed = bytes(signed_mail.signed(KEY, text, now=None))
    assert old in signed
    assert sent(appliance, signed.replace(old, new, 1).removesuffix(b"\r\n"))[0] == code


def test_fields_put_before_a_signed_message_take_its_proof(appliance: Appliance) -> None:
    text = f"From: <a@evil.test>\r\nTo: {ANA}\r\nSubject: first\r\n\r\nHello\r\n".encode()
    signed = bytes(signed_mail.signed(KEY, text, now=None)).removesuffix(b"\r\n")
    assert sent(appliance, signed)[0] == TAKEN
    assert b"dkim=pass" in inbox(appliance, "first")
    assert sent(appliance, b"Subject: second\r\n" + signed)[0] == TAKEN
    assert b"dkim=fail" in inbox(appliance, "second")
    said, words = sent(appliance, f"From: <{LEGIT}>\r\n".encode() + signed)
    assert (said, SEVERAL in words) == (REFUSED, True)


def test_a_from_beyond_the_fields_that_are_looked_at(appliance: Appliance) -> None:
    many = b"".join(b"X: %d\r\n" % number for number in range(10_000))
    message = b"From: <a@evil.test>\r\n" + many + f"From: <{LEGIT}>\r\n\r\nHello\r\n".encode()
    said, words = sent(appliance, message)
    assert (said, b"10000 fields" in words) == (REFUSED, True)
