"""What a sender may ask for besides the delivery: the parameters of MAIL that few messages bear, and when they hold.

FUTURERELEASE (RFC 4865), DELIVERBY (RFC 2852), MT-PRIORITY (RFC 6710), REQUIRETLS (RFC 8689). Pure: times come in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from appliance.mail.dates import format_timestamp
from appliance.mail.reply import Reply
from plugins.smtp.refusal import RefusedError, bad_value, unknown_parameter

if TYPE_CHECKING:
    from appliance.mail.envelope import Envelope
    from appliance.mail.message import Message

MAX_INTERVAL = 999_999_999  # seconds of HOLDFOR and BY, nine digits in both (RFC 4865 section 3, RFC 2852 section 4)

_INTERVAL = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)
_BY = re.compile(r"([+-]?\d{1,9});([RN]T?)", re.ASCII | re.IGNORECASE)
_PRIORITY = re.compile(r"-?[1-9]|0", re.ASCII)

NO_CLOCK = Reply(455, "4.3.0", "The clock is not set here: nothing can wait for a time at present")


@dataclass(frozen=True, slots=True)
class Terms:
    """What one session may ask for, as its EHLO announces it. `now` is in epoch seconds."""

    now: int
    clock: bool = True  # whether `now` can be trusted
    tls: bool = False  # the session is encrypted: REQUIRETLS is on offer
    max_hold_s: int = 0  # longest time for which the release may be put off; 0: not on offer

    def announced(self) -> list[str]:
        """The lines of EHLO."""
        lines = ["DELIVERBY", "MT-PRIORITY"]
        if self.max_hold_s and self.clock:
            lines.append(f"FUTURERELEASE {self.max_hold_s} {format_timestamp(self.now + self.max_hold_s)}")
        if self.tls:
            lines.append("REQUIRETLS")
        return lines

    def read(self, envelope: Envelope, key: str, value: str) -> None:
        """Note one parameter of MAIL in the envelope. Raises RefusedError for what is not on offer, or wrong."""
        if key == "REQUIRETLS" and self.tls:
            if value:
                raise bad_value(key)
            envelope.require_tls = True
        elif key == "MT-PRIORITY":
            if not _PRIORITY.fullmatch(value):
                raise bad_value(key, "5.5.2")
            envelope.priority = int(value)
        elif key == "BY":
            self._deliver_by(envelope, value)
        elif key in ("HOLDFOR", "HOLDUNTIL") and self.max_hold_s:
            if envelope.release_at:
                raise RefusedError(Reply(501, "5.5.4", "HOLDFOR and HOLDUNTIL do not go together"))
            envelope.release_at = self._release_at(key, value)
        else:
            raise unknown_parameter(key)

    @staticmethod
    def check(envelope: Envelope) -> None:
        """Raise RefusedError where the message could not leave before it has to be there (RFC 4865 section 5.2.2)."""
        if envelope.deliver_by and envelope.release_at > envelope.deliver_by:
            raise RefusedError(Reply(501, "5.5.4", "The message would be released after the time to deliver it by"))

    def _deliver_by(self, envelope: Envelope, value: str) -> None:
        """BY=seconds;mode (RFC 2852 section 4): a time that has passed is an error where mail is to be returned."""
        found = _BY.fullmatch(value)
        if found is None or (int(found[1]) <= 0 and found[2][0] in "Rr"):
            raise bad_value("BY")
        if not self.clock:
            raise RefusedError(NO_CLOCK)
        envelope.deliver_by, envelope.by_mode = self.now + int(found[1]), found[2].upper()

    def _release_at(self, key: str, value: str) -> int:
        """When the message may go (RFC 4865 section 4.2); beyond the limit that was announced it is an error."""
        if key == "HOLDFOR":
            at = self.now + int(value) if _INTERVAL.fullmatch(value) else 0
        else:
            at = _read_timestamp(value)
        if not self.now < at <= self.now + self.max_hold_s:
            raise bad_value(key)
        if not self.clock:
            raise RefusedError(NO_CLOCK)
        return at


def header_priority(message: Message) -> int:
    """The priority that a single valid MT-Priority field asks for, else 0 (RFC 6758 section 3.1).

    Only from peers that may ask for it: whoever writes the message writes this field.
    """
    values = message.get_all(b"mt-priority")
    text = values[0].decode("ascii", "replace") if len(values) == 1 else ""
    return int(text) if _PRIORITY.fullmatch(text) else 0


def _read_timestamp(value: str) -> int:
    """A time of RFC 3339 in UTC as epoch seconds, rounded up; 0 if it is none."""
    if not _TIMESTAMP.fullmatch(value):
        return 0
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return 0
    return int(at.timestamp()) + bool(at.microsecond)
