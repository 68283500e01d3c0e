"""Reading notifications that others write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.dsnparse import MAX_RECIPIENTS, Report, ReportedRecipient, parse
from appliance.mail.message import Message

REPORT = b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nSorry.\r\n--b\r\n"
STATUS = b"Content-Type: message/delivery-status\r\n\r\n"


def test_a_report_as_postfix_writes_it():
    message = Message.parse(
        REPORT + b"Content-Description: Delivery report\r\n" + STATUS + b"Reporting-MTA: dns; mail.example.org\r\n"
        b"Original-Envelope-Id: QQ1\r\n"
        b"X-Postfix-Queue-ID: 4ABC\r\n"
        b"Arrival-Date: Mon,  1 Jan 2024 10:00:00 +0000 (UTC)\r\n"
        b"\r\n"
        b"Final-Recipient: rfc822; eva@example.net\r\n"
        b"Original-Recipient: rfc822;eva@example.org\r\n"
        b"Action: failed\r\n"
        b"Status: 5.1.1\r\n"
        b"Remote-MTA: dns; mx.example.net\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 <eva@example.net>: Recipient address\r\n"
        b"    rejected\r\n"
        b"\r\n"
        b"Final-Recipient: LOCAL ; bob\r\n"
        b"Action: Delayed (for now)\r\n"
        b"Status: 4.4.7 (expired)\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Message-ID: <one@x>\r\n\r\ntext\r\n--b--\r\n"
    )
    assert parse(message) == Report(
        envid="QQ1",
        reporting_mta="mail.example.org",
        recipients=(
            ReportedRecipient(
                "eva@example.net",
                "eva@example.org",
                "failed",
                "5.1.1",
                "550 5.1.1 <eva@example.net>: Recipient address    rejected",
            ),
            ReportedRecipient("bob", "", "delayed", "4.4.7", ""),
        ),
        message_id="<one@x>",
    )


@pytest.mark.parametrize(
    ("returned", "identifier"),
    [
        (b"Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <two@x>\r\n", "<two@x>"),
        (b"Content-Type: message/global-headers\r\n\r\nSubject: none\r\n", ""),
        (b"Content-Type: image/png\r\n\r\nMessage-ID: <two@x>\r\n", ""),
    ],
)
def test_the_message_that_a_report_is_about(returned, identifier):
    message = Message.parse(REPORT + STATUS + b"Reporting-MTA: x\r\n--b\r\n" + returned + b"--b--")
    report = parse(message)
    assert report is not None
    assert (report.message_id, report.reporting_mta, report.recipients) == (identifier, "x", ())


def test_utf8_addresses_and_encoded_status_parts():
    status = b"Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: utf-8; jos\\x{E9}\\x{D800}\\x{0A}@x\r\nAction: failed\r\n"
    encoded = b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    report = parse(Message.parse(REPORT + encoded + status.replace(b"=", b"=3D") + b"--b--"))
    assert report is not None
    assert report.recipients == (ReportedRecipient("josé\\x{D800}\\x{0A}@x", "", "failed", "", ""),)


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\r\n\r\ntext",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + STATUS + b"Reporting-MTA: x\r\n--b--",
        REPORT + b"Content-Type: text/plain\r\n\r\nx\r\n--b--",
        b"Content-Type: multipart/report; boundary=b\r\n\r\nno parts",
    ],
)
def test_what_is_no_report(raw):
    assert parse(Message.parse(raw)) is None


def test_no_more_recipients_than_the_limit():
    group = b"\r\nFinal-Recipient: rfc822; a@x\r\nAction: failed\r\n"
    report = parse(Message.parse(REPORT + STATUS + b"Reporting-MTA: x\r\n" + group * (MAX_RECIPIENTS + 50) + b"--b--"))
    assert report is not None
    assert len(report.recipients) == MAX_RECIPIENTS


@given(
    st.lists(st.sampled_from([b"\r\n", b"Final-Recipient:", b" ", b"utf-8;", b"\\x{", b"41}", b"\xff", b"("])).map(
        b"".join
    )
)
def test_any_status_part_can_be_read(status):
    assert parse(Message.parse(REPORT + STATUS + status)) is not None
