"""Delivery status notifications: what RFC 3464 asks for, what RET returns, and UTF-8 where it may stand."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail import dsn
from appliance.mail.address import Address
from appliance.mail.dsn import MAX_RETURNED, MAX_RETURNED_FULL, MAX_VALUE, Notice, compose
from appliance.mail.dsnparse import parse
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.language import LANGUAGES
from appliance.mail.message import Message, with_crlf
from appliance.mail.noticetexts import ENGLISH, NOTICE_TEXTS
from appliance.mail.reply import Reply

ANA = Address.parse("ana@palomar.test")
EVA = Recipient(Address.parse("eva@example.org"), orcpt="rfc822;Eva@Example.org")
ORIGINAL = Message.parse(b"Message-ID: <one@x>\r\nSubject: hello\r\n\r\nthe text\r\n")
AT = 1704103200


def failed(recipient=EVA, text="No such user", peer="mx.example.org[192.0.2.1]:25"):
    return Notice(recipient, "failed", Reply(550, "5.1.1", text), peer=peer, attempted_at=AT)


def write(*notices, original=ORIGINAL, **envelope):
    return compose(
        Envelope(envelope.pop("sender", ANA), **envelope),
        original,
        notices or [failed()],
        postmaster=Address.parse("postmaster@palomar.test"),
        hostname="mx.palomar.test",
        token="token1",
        at=AT,
        arrived_at=AT - 60,
    )


def part(message, number):
    octets = message.section((number,))
    assert octets is not None
    return octets


def test_the_header_of_a_failure():
    message = write()
    assert message.header == (
        b"From: Mail Delivery System <postmaster@palomar.test>\r\n"
        b"To: <ana@palomar.test>\r\n"
        b"Subject: Your message could not be delivered\r\n"
        b"Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n"
        b"Message-ID: <token1@mx.palomar.test>\r\n"
        b"Auto-Submitted: auto-replied\r\n"
        b"Content-Language: en\r\n"
        b"In-Reply-To: <one@x>\r\n"
        b"References: <one@x>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=delivery-status;\r\n"
        b'\tboundary="report-token1"\r\n'
        b"\r\n"
    )


def test_the_part_for_people():
    assert part(write(), 1) == (
        b"This is the mail system at mx.palomar.test.\r\n"
        b"\r\n"
        b"Your message could not be delivered to the recipients below. No further\r\n"
        b"attempt will be made.\r\n"
        b"\r\n"
        b"<eva@example.org>\r\n"
        b"    There is no such mailbox.\r\n"
        b"    mx.example.org[192.0.2.1]:25 said: No such user\r\n"
    )


def test_the_part_for_machines():
    assert part(write(envid="QQ314159"), 2) == (
        b"Reporting-MTA: dns; mx.palomar.test\r\n"
        b"Original-Envelope-Id: QQ314159\r\n"
        b"Arrival-Date: Mon, 01 Jan 2024 09:59:00 +0000\r\n"
        b"\r\n"
        b"Original-Recipient: rfc822; Eva@Example.org\r\n"
        b"Final-Recipient: rfc822; eva@example.org\r\n"
        b"Action: failed\r\n"
        b"Status: 5.1.1\r\n"
        b"Remote-MTA: dns; mx.example.org\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n"
        b"Last-Attempt-Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n"
    )


def test_a_delay_says_until_when_and_our_own_words_are_no_smtp_diagnostic():
    own = Reply(450, "", "Connection timed out")
    status = part(write(Notice(Recipient(EVA.address), "delayed", own, retry_until=AT + 86400)), 2)
    assert b"Action: delayed\r\nStatus: 4.0.0\r\nDiagnostic-Code: x-palomar; Connection timed out\r\n" in status
    assert status.endswith(b"Will-Retry-Until: Tue, 02 Jan 2024 10:00:00 +0000\r\n")
    assert b"Remote-MTA" not in status
    assert b"Original-Recipient" not in status
    assert b"Last-Attempt" not in status


@pytest.mark.parametrize(
    ("action", "subject", "code"),
    [
        ("delivered", b"Your message was delivered", 250),
        ("relayed", b"Your message was passed on", 250),
        ("expanded", b"Your message was passed on to a list", 250),
        ("delayed", b"Your message is delayed", 450),
    ],
)
def test_other_actions_return_the_header_only(action, subject, code):
    message = write(Notice(EVA, action, Reply(code, "", "ok")), ret="FULL")
    assert message.get(b"subject") == subject
    assert message.section((3,), "MIME") == b"Content-Type: text/rfc822-headers\r\n\r\n"
    assert part(message, 3) == ORIGINAL.header


def test_the_worst_action_names_the_report():
    message = write(Notice(EVA, "delivered", Reply(250, "2.0.0", "ok")), failed())
    assert message.get(b"subject") == b"Your message could not be delivered"
    report = parse(message)
    assert report is not None
    assert [recipient.action for recipient in report.recipients] == ["delivered", "failed"]


def message_of(size: int) -> Message:
    return Message(b"A: b\r\n\r\n", b"x" * (size - 8))


@pytest.mark.parametrize(
    ("ret", "size", "full"),
    [
        ("", MAX_RETURNED, True),
        ("", MAX_RETURNED + 1, False),
        ("FULL", MAX_RETURNED_FULL, True),
        ("FULL", MAX_RETURNED_FULL + 1, False),
        ("HDRS", 100, False),
    ],
)
def test_how_much_is_returned(ret, size, full):
    original = message_of(size)
    message = write(original=original, ret=ret)
    assert part(message, 3) == (bytes(original) if full else original.header)
    assert message.structure.parts[2].type == ("message" if full else "text")


def test_binary_text_is_never_returned():
    assert part(write(ret="FULL", body="BINARYMIME"), 3) == ORIGINAL.header


def test_eight_bit_text_is_declared_and_a_boundary_in_it_is_avoided():
    original = Message.parse(b"A: b\r\n\r\n--report-token1\r\n\xff")
    message = write(original=original)
    assert message.get(b"content-transfer-encoding") == b"8bit"
    assert message.structure.parts[2].encoding == "8bit"
    assert message.structure.param("boundary") == "report-token1x"
    assert part(message, 3) == bytes(original)


WIDE = Recipient(Address.parse("josé+a=b@example.org"), orcpt="utf-8;josé@example.org")


def test_utf8_addresses_in_a_report_that_must_be_ascii():
    message = write(failed(WIDE, text="Não há josé"))
    status = part(message, 2)
    assert status.isascii()
    assert b"Original-Recipient: utf-8; jos\\x{E9}@example.org\r\n" in status
    assert b"Final-Recipient: utf-8; jos\\x{E9}\\x{2B}a\\x{3D}b@example.org\r\n" in status
    assert message.structure.parts[1].subtype == "delivery-status"
    assert message.header.isascii()
    assert message.structure.parts[0].encoding == "quoted-printable"
    report = parse(message)
    assert report is not None
    assert (report.recipients[0].final, report.recipients[0].original) == ("josé+a=b@example.org", "josé@example.org")


def test_utf8_addresses_in_a_report_that_may_be_utf8():
    original = Message.parse("Subject: é\r\n\r\n".encode())
    message = write(failed(WIDE), original=original, smtputf8=True)
    assert "Final-Recipient: utf-8; josé+a=b@example.org\r\n".encode() in part(message, 2)
    kinds = [(part.type, part.subtype) for part in message.structure.parts]
    assert kinds == [("text", "plain"), ("message", "global-delivery-status"), ("message", "global")]
    headers = write(failed(WIDE), original=original, ret="HDRS", sender=WIDE.address)
    assert headers.structure.parts[2].subtype == "global-headers"
    assert headers.get(b"to") == "<josé+a=b@example.org>".encode()


def test_the_null_sender_is_told_nothing():
    with pytest.raises(ValueError, match="sender"):
        write(sender=None)
    with pytest.raises(ValueError, match="something to tell"):
        compose(Envelope(ANA), ORIGINAL, [], postmaster=ANA, hostname="h", token="t", at=0)


@pytest.mark.parametrize("identifier", [b"", b"<a> <b>", b"<a\r\n b>", b"x", b"<\xff>", b"<" + b"a" * MAX_VALUE + b">"])
def test_a_strange_message_id_is_not_repeated(identifier):
    message = write(original=Message(b"Message-ID: " + identifier + b"\r\n\r\n", b""))
    assert message.get(b"references") is None


hostile = st.text(st.characters(exclude_characters="\r\0"), max_size=60) | st.text(
    st.sampled_from("a;:\n\x0b\x85\u2028é<>()"), max_size=60
)


@given(text=hostile, peer=hostile, orcpt=hostile, envid=hostile, wide=st.booleans())
def test_nothing_that_others_said_breaks_out_of_its_line(text, peer, orcpt, envid, wide):
    recipient = Recipient(EVA.address, orcpt="rfc822;" + orcpt)
    notice = Notice(recipient, "failed", Reply(550, "5.0.0", text), peer=peer)
    message = write(notice, envid=envid, smtputf8=wide)
    assert with_crlf(bytes(message.text)) == message.text
    names = [line.split(b":")[0] for line in part(message, 2).split(b"\r\n") if line[:1] not in (b" ", b"")]
    allowed = {b"Reporting-MTA", b"Original-Envelope-Id", b"Arrival-Date", b"Original-Recipient", b"Final-Recipient"}
    assert set(names) <= allowed | {b"Action", b"Status", b"Remote-MTA", b"Diagnostic-Code"}
    assert names.count(b"Final-Recipient") == names.count(b"Action") == 1
    report = parse(message)
    assert report is not None
    assert [recipient.final for recipient in report.recipients] == ["eva@example.org"]


def test_lines_stay_below_the_limit_of_smtp():
    recipient = Recipient(WIDE.address, orcpt="rfc822;" + "é" * 2000)
    notice = failed(recipient, text="\n".join(["word " * 90, "x" * 3000]), peer="mx.example.org[192.0.2.1]:25")
    for wide in (False, True):
        message = write(notice, envid="e" * 2000, smtputf8=wide)
        head = b"".join(part(message, number) for number in (1, 2))
        assert max(len(line) for line in head.split(b"\r\n")) <= 998
        assert message.structure.parts[1].subtype.endswith("delivery-status")


@pytest.mark.parametrize("wide", [False, True])
def test_the_standard_library_reads_a_report(wide):
    message = write(failed(WIDE if wide else EVA), failed(), smtputf8=wide)
    parsed = email.message_from_bytes(bytes(message), policy=email.policy.SMTPUTF8)
    assert parsed.get_content_type() == "multipart/report"
    assert not parsed.defects
    text, status, returned = parsed.iter_parts()
    assert "No such user" in text.get_content()
    assert returned.get_content()["Subject"] == "hello"
    if not wide:  # the library knows message/delivery-status only
        assert [block["Action"] for block in status.get_payload()] == [None, "failed", "failed"]


def test_limits_are_in_order():
    assert dsn.MAX_VALUE < 998
    assert MAX_RETURNED < MAX_RETURNED_FULL


def spanish(*notices, **envelope):
    return compose(
        Envelope(envelope.pop("sender", ANA), **envelope),
        ORIGINAL,
        notices or [failed()],
        postmaster=Address.parse("postmaster@palomar.test"),
        hostname="mx.palomar.test",
        token="token1",
        at=AT,
        arrived_at=AT - 60,
        language="es",
    )


@pytest.mark.parametrize(
    ("action", "subject"),
    [
        ("failed", "Su mensaje no se pudo entregar"),
        ("delayed", "La entrega de su mensaje se retrasa"),
        ("delivered", "Su mensaje se entregó"),
        ("relayed", "Su mensaje se pasó a otro sistema"),
        ("expanded", "Su mensaje se pasó a una lista"),
    ],
)
def test_a_notice_in_spanish(action, subject):
    notice = Notice(EVA, action, Reply(452, "4.2.2", "Full"), "mx.example.org[192.0.2.1]:25")
    message = spanish(notice)
    assert message.header.isascii()
    read = email.message_from_bytes(bytes(message), policy=email.policy.default)
    assert read["subject"] == subject
    assert read["from"] == "Sistema de correo <postmaster@palomar.test>"
    assert read["content-language"] == "es"
    people = read.get_body()
    assert people is not None
    assert people["content-language"] == "es"
    assert people.get_content_charset() == "utf-8"
    said = people.get_content()
    assert "El buzón está lleno." in said
    assert "mx.example.org[192.0.2.1]:25 respondió: Full" in said


def test_machines_read_the_same_in_every_language():
    notice = failed(text="No such user")
    assert part(spanish(notice, envid="Q1"), 2) == part(write(notice, envid="Q1"), 2)


def test_every_language_says_everything():
    for texts in NOTICE_TEXTS.values():
        assert texts.subjects.keys() == texts.explanations.keys() == ENGLISH.subjects.keys()
        assert texts.reasons.keys() == ENGLISH.reasons.keys()
        assert {"{peer}", "{words}"} <= set(texts.said.split()) | {texts.said.split()[-1]}
        assert "{hostname}" in texts.opening
        words = [texts.said, *texts.subjects.values(), *texts.explanations.values(), *texts.reasons.values()]
        assert all(words)
        assert len(set(words)) == len(words)
    assert set(NOTICE_TEXTS) == set(LANGUAGES)
