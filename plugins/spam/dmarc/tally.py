"""Counting what DMARC found, for the daily reports to domains that ask for them (RFC 7489 section 7.2)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from appliance.dailycounts import DailyCounts
from appliance.mail.finding import Action, Finding
from appliance.mail.message import Message
from plugins.spam.dmarc.evaluation import Verdict
from plugins.spam.dmarc.protocol_policy import Policy, Record
from plugins.spam.dmarc.protocol_report import PolicyPublished, Reason, Row, Signed

MAX_ROWS: Final = 1000  # of one domain and day; what comes on top is counted without its source
MAX_SIGNED: Final = 8  # signatures of one row
REMEMBERED: Final = 4096  # messages that may be tried again, and are counted once

DISPOSITIONS: dict[Action | None, Policy] = {"refuse": "reject", "quarantine": "quarantine", "junk": "quarantine"}


class Decision(NamedTuple):
    """What a policy demands of a message here, and why it is less than the domain asks for, if it is."""

    action: Action | None = None
    reason: Reason = ""
    words: str = ""


def message_key(message: Message) -> bytes:
    """The same for one message however often it is tried."""
    key = b"\0".join(message.get(name) or b"" for name in (b"message-id", b"from", b"date", b"subject"))
    return hashlib.sha256(key).digest()


@dataclass(slots=True)
class Tally:
    """The messages of one domain and day. `more` are those past MAX_ROWS."""

    published: PolicyPublished | None = None
    rows: dict[Row, int] = field(default_factory=dict)
    more: int = 0

    def add(self, row: Row, count: int = 1) -> None:
        """Count messages."""
        if row in self.rows or len(self.rows) < MAX_ROWS:
            self.rows[row] = self.rows.get(row, 0) + count
        else:
            self.more += count


class _Packed(msgspec.Struct, array_like=True):
    published: PolicyPublished | None
    rows: list[tuple[Row, int]]
    more: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack(tally: Tally) -> bytes:
    """What is written of a tally."""
    return _encode(_Packed(tally.published, list(tally.rows.items()), tally.more))


def merge(tally: Tally, data: bytes) -> None:
    """Add what was written; what another release wrote and this one cannot read is left out."""
    try:
        found = _decode(data)
    except msgspec.DecodeError:
        return
    tally.published = tally.published or found.published
    tally.more += found.more
    for row, count in found.rows:
        tally.add(row, count)


class Tallies(DailyCounts[Tally]):
    """The counts by the domain at which the policy was found. `now` gives epoch seconds."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        super().__init__("dmarc_count", now=now, new=Tally, pack=pack, merge=merge)
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def note(self, published: PolicyPublished, row: Row, message_key: bytes) -> None:
        """Count a message, once however often it is tried (a stranger is deferred at first)."""
        if message_key in self._seen:
            return
        self._seen[message_key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        tally = self.of_today(published.domain)
        if tally is not None:
            tally.published = published  # the last one counts, should it have changed meanwhile
            tally.add(row)


def published_of(domain: str, record: Record) -> PolicyPublished:
    """What a report says of a record."""
    return PolicyPublished(
        domain,
        record.policy,
        record.subdomain_policy,
        record.strict_dkim,
        record.strict_spf,
        record.percent,
        record.testing,
        record.failure_options,
        tuple(uri.address for uri in record.reports),
    )


def row_of(
    verdict: Verdict,
    decided: Decision,
    findings: Sequence[Finding],
    *,
    source_ip: str,
    sender: str | None,
    helo: str,
) -> Row:
    """The row for one message. `sender` is the domain of the envelope's, None of a bounce."""
    spf = next((one for one in findings if one.name == "spf"), None)
    signed = [
        Signed(one.domain, one.evidence.partition("._domainkey.")[0], one.result)
        for one in findings
        if one.name == "dkim" and one.domain
    ]
    signed.sort(key=lambda one: (one.result != "pass", one.domain != verdict.author))
    return Row(
        source_ip,
        DISPOSITIONS.get(decided.action, "none"),
        verdict.dkim_aligned,
        verdict.spf_aligned,
        verdict.author,
        sender or "",
        decided.reason,
        decided.words,
        tuple(signed[:MAX_SIGNED]),
        (spf.domain if spf is not None else "") or sender or helo,
        "mfrom" if sender is not None else "helo",
        spf.result if spf is not None else "none",
    )
