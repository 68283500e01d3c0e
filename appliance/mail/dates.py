"""Dates as mail writes them (RFC 5322 section 3.3), from and to epoch seconds."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta, timezone

from appliance.mail.headers import strip_comments, text_of, unfold

MAX_DATE = 200  # octets of a Date value that are looked at

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBER = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_DATE = re.compile(
    r"\s*+(?>(?:[A-Za-z]++\.?+\s*+,?+\s*+)?)(\d{1,2}+)[\s-]++([A-Za-z]{3,9}+)[\s-]++(\d{2,4}+)"
    r"(?>(?:\s++(\d{1,2}+)\s*+:\s*+(\d{1,2}+)(?>(?:\s*+:\s*+(\d{1,2}+))?)(?>(?:\s*+([+-]\d{4}+|[A-Za-z]{1,5}+))?))?)"
)
_ZONES = {"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}


def format_date(at: float, offset_minutes: int = 0) -> str:
    """Write epoch seconds as a Date value: `Mon, 01 Jan 2024 10:00:00 +0000`, in the zone of that offset from UTC."""
    return _written(int(at), offset_minutes)


@functools.lru_cache(maxsize=16)  # all mail of one second has one date
def _written(at: int, offset_minutes: int) -> str:
    moment = datetime.fromtimestamp(at, UTC) + timedelta(minutes=offset_minutes)
    hours, minutes = divmod(abs(offset_minutes), 60)
    sign = "-" if offset_minutes < 0 else "+"
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} {moment.year:04} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} {sign}{hours:02}{minutes:02}"
    )


def format_timestamp(at: float) -> str:
    """Write epoch seconds as a time of RFC 3339 in UTC: `2024-01-01T10:00:00Z`."""
    return f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%SZ}"


def parse_date(value: bytes) -> datetime | None:
    """Read a Date value, obsolete forms included (section 4.3), or return None. The zone is kept as given."""
    match = _DATE.match(strip_comments(text_of(unfold(value[:MAX_DATE])).encode()).decode())
    if match is None:
        return None
    day, month, year, hour, minute, second, zone = match.groups()
    number = _MONTH_NUMBER.get(month[:3].lower())
    full_year = int(year)
    if len(year) < 4:  # section 4.3: two digits up to 49 are this century, all others count from 1900
        full_year += 2000 if len(year) == 2 and full_year < 50 else 1900
    try:
        return datetime(
            full_year,
            number or 0,
            int(day),
            int(hour or 0),
            int(minute or 0),
            min(int(second or 0), 59),  # a leap second is allowed
            tzinfo=_zone(zone or ""),
        )
    except ValueError:
        return None


def _zone(zone: str) -> timezone:
    if zone[:1] in ("+", "-"):
        minutes = int(zone[1:3]) * 60 + int(zone[3:])
        return timezone(timedelta(minutes=-minutes if zone[0] == "-" else minutes))
    return timezone(timedelta(hours=_ZONES.get(zone.upper(), 0)))
