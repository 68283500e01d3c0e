"""Trace fields: what a peer says cannot break out of them, and loops are seen."""

import email
import email.policy
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.address import Address
from appliance.mail.message import Message
from appliance.mail.received import (
    MAX_HOPS,
    count_received,
    date_field,
    delivered_to,
    message_id,
    protocol_name,
    received_field,
    return_path,
    was_delivered_to,
)
from appliance.mail.session import TlsInfo

ANA = Address.parse("ana@palomar.test")
AT = 1704103200


def test_a_whole_field():
    field = received_field(
        helo="mail.example.com",
        peer_ip="192.0.2.1",
        peer_name="host.example.com",
        by="mx.palomar.test",
        protocol="ESMTPS",
        trace_id="abc123",
        at=AT,
        recipient=ANA,
        tls=TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256),
    )
    assert field == (
        b"Received: from mail.example.com (host.example.com [192.0.2.1])\r\n"
        b"\tby mx.palomar.test (Palomar) with ESMTPS id abc123\r\n"
        b"\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256)\r\n"
        b"\tfor <ana@palomar.test>;\r\n"
        b"\tMon, 01 Jan 2024 10:00:00 +0000\r\n"
    )


def test_little_known_and_an_ipv6_peer():
    field = received_field(helo="", peer_ip="2001:db8::1", by="mx", protocol="SMTP", trace_id="a", at=AT)
    assert field.startswith(b"Received: from unknown ([IPv6:2001:db8::1])\r\n\tby mx (Palomar) with SMTP id a;\r\n")
    local = received_field(helo="x", peer_ip="", by="mx", protocol="LMTP", trace_id="a", at=AT, offset_minutes=60)
    assert local.startswith(b"Received: from x (local)\r\n")
    assert local.endswith(b"\tMon, 01 Jan 2024 11:00:00 +0100\r\n")


def test_a_clock_in_doubt_is_said_behind_the_date():
    field = received_field(helo="x", peer_ip="", by="mx", protocol="ESMTP", trace_id="a", at=0, doubt="unset")
    assert field.endswith(b"\tThu, 01 Jan 1970 00:00:00 +0000 (clock unset)\r\n")
    parsed = email.message_from_bytes(field + b"\r\n", policy=email.policy.default)
    assert email.utils.parsedate_to_datetime(parsed["Received"].rpartition(";")[2]).timestamp() == 0


@given(st.text(max_size=300), st.text(max_size=300))
def test_what_a_peer_says_stays_one_word_of_one_field(helo, peer_name):
    field = received_field(helo=helo, peer_ip="::1", peer_name=peer_name, by="mx", protocol="SMTP", trace_id="a", at=AT)
    message = Message.parse(field + b"\r\n")
    assert [known.name for known in message.fields()] == [b"received"]
    assert field.count(b"\r\n") == 3
    assert field.count(b"(") == field.count(b")") == 2
    assert field.count(b";") == 1


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"esmtp": False, "tls": True}, "SMTP"),
        ({}, "ESMTP"),
        ({"tls": True}, "ESMTPS"),
        ({"authenticated": True}, "ESMTPA"),
        ({"tls": True, "authenticated": True}, "ESMTPSA"),
        ({"smtputf8": True}, "UTF8SMTP"),
        ({"smtputf8": True, "tls": True, "authenticated": True}, "UTF8SMTPSA"),
        ({"lmtp": True}, "LMTP"),
        ({"lmtp": True, "smtputf8": True, "tls": True}, "UTF8LMTPS"),
    ],
)
def test_protocol_names(facts, name):
    assert protocol_name(**facts) == name


def test_small_fields():
    assert return_path(None) == b"Return-Path: <>\r\n"
    assert return_path(Address.parse('"a b"@c.test')) == b'Return-Path: <"a b"@c.test>\r\n'
    assert delivered_to(ANA) == b"Delivered-To: ana@palomar.test\r\n"
    assert message_id("tok-en.1", "mx.palomar.test") == b"Message-ID: <tok-en.1@mx.palomar.test>\r\n"
    assert message_id("a>\r\nX: y", "b") == b"Message-ID: <a???X:?y@b>\r\n"
    assert date_field(AT) == b"Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n"


def test_hops_are_counted():
    message = Message.parse(b"Received: x\r\n" * MAX_HOPS + b"Subject: Received: y\r\n\r\nReceived: z\r\n")
    assert count_received(message) == MAX_HOPS
    assert count_received(message.prepend(b"received: one more\r\n")) == MAX_HOPS + 1


def test_a_delivery_to_the_same_address_is_a_loop():
    message = Message.parse(b"Delivered-To: luis@palomar.test\r\nDelivered-To: ANA@palomar.test\r\n\r\n")
    assert was_delivered_to(message, ANA)
    assert not was_delivered_to(message, Address.parse("eva@palomar.test"))


def test_the_standard_library_reads_the_fields():
    field = received_field(helo="x", peer_ip="192.0.2.1", by="mx", protocol="ESMTP", trace_id="a", at=AT, recipient=ANA)
    parsed = email.message_from_bytes(
        field + date_field(AT) + message_id("a", "b") + b"\r\n", policy=email.policy.default
    )
    assert not parsed.defects
    assert parsed["Date"].datetime.timestamp() == AT
    assert len(parsed.keys()) == 3
