"""What addresses become, and that a header keeps every other octet."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.address import Address
from appliance.mail.message import Message
from plugins.rewrite.protocol import AddressMap, Masquerade, chain, rewrite_header

MAP = AddressMap.of(
    {
        "Ana@office.lan": "ana.garcia@example.org",
        "@old.test": "@Example.org",
        "root@office.lan": '"the root"@example.org',
    },
    "+",
)
HIDDEN = Masquerade.of(["!lab.example.org", "example.org"], ["Root"])


@pytest.mark.parametrize(
    ("given", "new"),
    [
        ("ana@OFFICE.lan", "ana.garcia@example.org"),
        ("ANA+lists@office.lan", "ana.garcia+lists@example.org"),
        ("luis@office.lan", None),
        ("Luis+x@old.test", "Luis+x@example.org"),
        ("root@office.lan", '"the root"@example.org'),
        ("ana.garcia@example.org", None),
        (f"ana+{'x' * 58}@office.lan", None),  # it would not be an address any more
    ],
)
def test_maps(given: str, new: str | None) -> None:
    found = MAP.find(Address.parse(given))
    assert (str(found) if found is not None else None) == new


@pytest.mark.parametrize(
    ("given", "new"),
    [
        ("ana@pc7.example.org", "ana@example.org"),
        ("ana@deep.pc7.EXAMPLE.org", "ana@example.org"),
        ("ana@example.org", None),
        ("ana@lab.example.org", None),
        ("ana@x.lab.example.org", None),
        ("root@pc7.example.org", None),
        ("ana@notexample.org", None),
    ],
)
def test_masquerade(given: str, new: str | None) -> None:
    found = HIDDEN.find(Address.parse(given))
    assert (str(found) if found is not None else None) == new


def test_steps_follow_each_other() -> None:
    both = chain(AddressMap.of({"ana@old.test": "ana@pc7.example.org"}, "").find, HIDDEN.find)
    assert str(both(Address.parse("ana@old.test"))) == "ana@example.org"
    assert both(Address.parse("x@elsewhere.test")) is None


def test_only_the_addresses_of_the_chosen_fields_change() -> None:
    raw = (
        b"Received: from ana@office.lan\r\n"
        b'FROM :  "Ana, at ana@office.lan"\r\n <ana@office.lan> (ana@office.lan)\r\n'
        b"To: luis@old.test,\r\n\tTeam: \xff <ana@office.lan>, ana (x) @office.lan;\r\n"
        b"no field\r\n"
        b"X-From: ana@office.lan\r\nSubject: ana@office.lan\r\n\r\nFrom: ana@office.lan\r\n"
    )
    changed = rewrite_header(Message.parse(raw), dict.fromkeys((b"from", b"to"), MAP.find))
    assert bytes(changed) == (
        b"Received: from ana@office.lan\r\n"
        b'FROM :  "Ana, at ana@office.lan"\r\n <ana.garcia@example.org> (ana@office.lan)\r\n'
        b"To: luis@example.org,\r\n\tTeam: \xff <ana.garcia@example.org>, ana (x) @office.lan;\r\n"
        b"no field\r\n"
        b"X-From: ana@office.lan\r\nSubject: ana@office.lan\r\n\r\nFrom: ana@office.lan\r\n"
    )


def test_nothing_to_change_is_the_same_message() -> None:
    message = Message.parse(b"From: a@b.test\r\n\r\n")
    assert rewrite_header(message, {b"from": MAP.find}) is message


def test_a_line_that_would_be_too_long_stays() -> None:
    field = b"To: " + b", ".join([b"ana@office.lan"] * 60) + b"\r\n"
    message = Message.parse(field + b"From: ana@office.lan\r\n\r\n")
    changed = rewrite_header(message, dict.fromkeys((b"from", b"to"), MAP.find))
    assert changed.header == field + b"From: ana.garcia@example.org\r\n\r\n"


octets = st.lists(
    st.sampled_from(
        [b"ana@office.lan", b"<", b">", b",", b":", b";", b"(", b")", b'"', b"\\", b" ", b"\r\n ", b"\xff", b"x@y.z"]
    ),
    max_size=20,
).map(b"".join)


@settings(max_examples=300)
@given(octets, octets)
def test_whatever_stands_there_nothing_else_is_touched(first: bytes, second: bytes) -> None:
    raw = b"Subject: " + first + b"\r\nFrom: " + first + b"\r\nTo:" + second + b"\r\n\r\ntext"
    message = Message.parse(raw)
    changed = rewrite_header(message, dict.fromkeys((b"from", b"to"), MAP.find))
    back = AddressMap.of({"ana.garcia@example.org": "ana@office.lan"}, "")
    again = rewrite_header(changed, dict.fromkeys((b"from", b"to"), back.find))
    assert bytes(again) == raw
    assert len(changed.fields()) == len(message.fields())
