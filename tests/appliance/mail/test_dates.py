"""Dates, written and read."""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.dates import MAX_DATE, format_date, parse_date


def test_format_in_several_zones():
    assert format_date(1704103205.9) == "Mon, 01 Jan 2024 10:00:05 +0000"
    assert format_date(1704103205, 90) == "Mon, 01 Jan 2024 11:30:05 +0130"
    assert format_date(1704103205, -630) == "Sun, 31 Dec 2023 23:30:05 -1030"
    assert format_date(0) == "Thu, 01 Jan 1970 00:00:00 +0000"


@given(st.integers(0, 4_000_000_000))
def test_format_agrees_with_the_standard_library(at):
    assert format_date(at) == format_datetime(datetime.fromtimestamp(at, UTC))


@given(st.integers(0, 4_000_000_000), st.integers(-14 * 60, 14 * 60))
def test_what_is_written_can_be_read(at, offset):
    moment = parse_date(format_date(at, offset).encode())
    assert moment is not None
    assert moment.timestamp() == at
    assert moment == parsedate_to_datetime(format_date(at, offset))


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        (b"Mon, 1 Jan 2024 10:00:00 +0100", "2024-01-01T10:00:00+01:00"),
        (b"Mon, 1 Jan 2024 10:00:00 -0830 (somewhere)", "2024-01-01T10:00:00-08:30"),
        (b"1 jan 2024 10:00", "2024-01-01T10:00:00+00:00"),
        (b"Mon,1 January 2024  10 : 00 : 60 GMT", "2024-01-01T10:00:59+00:00"),
        (b"Mon 1 Jan 24 10:00:00 EST", "2024-01-01T10:00:00-05:00"),
        (b"01-Jan-99 10:00:00 Z", "1999-01-01T10:00:00+00:00"),
        (b"1 Jan 104 00:00 +0000", "2004-01-01T00:00:00+00:00"),
        (b"(c) Mon,\r\n 1 Jan 2024 10:00:00\r\n +0000", "2024-01-01T10:00:00+00:00"),
        (b"1 Jan 2024", "2024-01-01T00:00:00+00:00"),
    ],
)
def test_forms_in_use(value, iso):
    moment = parse_date(value)
    assert moment is not None
    assert moment.isoformat() == iso


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"yesterday",
        b"32 Jan 2024 10:00:00 +0000",
        b"1 Foo 2024 10:00 +0000",
        b"1 Jan 2024 25:00 +0000",
        b"1 Jan 0000",
        b"1 Jan 2024 10:00 +2500",
        b" " * MAX_DATE + b"1 Jan 2024",
        b"\xff\xfe",
        b"Mon, " * 50_000,
    ],
)
def test_what_is_no_date(value):
    assert parse_date(value) is None


@given(st.binary(max_size=60) | st.text(st.sampled_from("1 Jan2024:+0-,(\t)")).map(str.encode))
def test_any_octets_give_a_date_or_none(value):
    moment = parse_date(value)
    assert moment is None or moment.tzinfo is not None
