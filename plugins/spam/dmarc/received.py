"""Reports of others about our domains: found in the mail that comes for them, read with caps, kept to be shown."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from appliance.core import Core
from appliance.hookspecs import hookimpl
from appliance.mail.message import Message
from appliance.mail.text import part_octets
from plugins.spam.dmarc.config import DmarcConfig
from plugins.spam.dmarc.protocol_failure import ReceivedFailure, read_failure
from plugins.spam.dmarc.protocol_received import MAX_REPORT, ReceivedReport, ReportError, read_packed

if TYPE_CHECKING:
    from appliance.mail.envelope import Envelope
    from appliance.mail.mime import Part
    from appliance.mail.session import Session
    from appliance.store import Accepted
    from appliance.store.database import Database

log = logging.getLogger(__name__)

MAX_KEPT: Final = 2000  # reports; the oldest go first
MAX_ROWS_KEPT: Final = 100_000  # of all of them; a report goes as a whole
MAX_PARTS: Final = 20  # of a message that are looked at
MAX_SHOWN: Final = 1000
DAY_S: Final = 86_400

GROUPS = {
    "source": ("domain", "source_ip"),
    "day": ("day", "domain"),
    "domain": ("domain",),
    "report": ("day", "domain", "organization"),
}
_TYPES = {
    ("application", "gzip"), ("application", "x-gzip"), ("application", "zip"), ("application", "x-zip-compressed"),
    ("text", "xml"), ("application", "xml"), ("application", "octet-stream"),
}  # fmt: skip
_ENDINGS = (".xml", ".xml.gz", ".gz", ".zip")


class ReceivedReports:
    """Looks into accepted mail for the address of reports; anything else costs one comparison."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def message_accepted(self, session: Session, envelope: Envelope, accepted: Accepted) -> None:
        """If the message is for the address of reports and holds one, keep what it says."""
        ours = self._core.settings[DmarcConfig].report_address.lower()
        if not accepted.body_id or not any(str(one.address).lower() == ours for one in envelope.recipients):
            return
        message = await self._core.store.load(accepted.body_id)
        try:
            report = await asyncio.to_thread(report_in, message)
        except ReportError as error:
            log.warning("a DMARC report from %s cannot be read: %s", envelope.sender or "<>", error)
            return
        now = int(self._core.now())
        if isinstance(report, ReceivedReport):
            await self._core.store.soft.write(lambda db: _add_report(db, report, now))
        elif report is not None:
            await self._core.store.soft.write(lambda db: _add_failure(db, report, now))


def report_in(message: Message) -> ReceivedReport | ReceivedFailure | None:
    """The report in a message; None if there is none. Raises ReportError."""
    if (failure := read_failure(message)) is not None:
        return failure
    for number, part in enumerate(message.structure.walk()):
        if number >= MAX_PARTS:
            break
        if _is_candidate(part):
            if part.end - part.body_start > MAX_REPORT * 3 // 2:
                raise ReportError(f"the report has more than {MAX_REPORT} octets")
            return read_packed(part_octets(part, message.text, MAX_REPORT * 3 // 2))
    return None


def _is_candidate(part: Part) -> bool:
    """What stands in a file whose name or type is a report's (RFC 7489 section 7.2.1.1); writers differ a lot."""
    if (part.type, part.subtype) not in _TYPES:
        return False
    if part.subtype in {"gzip", "xml"}:
        return True
    given = dict(part.disposition[1]) if part.disposition else {}
    name = (given.get("filename") or part.param("name") or "").lower()
    return name.endswith(_ENDINGS)


def _add_report(db: Database, report: ReceivedReport, now: int) -> None:
    """Keep a report, unless it is there already (a sender that was not sure sends it twice)."""
    row = (
        now, report.organization, report.report_id, report.domain, report.policy, report.begin, report.end,
    )  # fmt: skip
    made = db.execute(
        "INSERT OR IGNORE INTO dmarc_report"
        " (received_at, organization, report_id, domain, policy, begins_at, ends_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " RETURNING id",
        row,
    ).fetchone()
    if made is None:
        return
    db.executemany(
        "INSERT INTO dmarc_row (report, source_ip, count, disposition, dkim, spf, header_from, envelope_from, reasons,"
        " results) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                made[0], one.source_ip, one.count, one.disposition, one.dkim == "pass", one.spf == "pass",
                one.header_from, one.envelope_from, one.reasons, one.results,
            )
            for one in report.rows
        ],
    )  # fmt: skip
    oldest = db.execute(
        "SELECT max((SELECT max(id) FROM dmarc_report) - ?,"
        " coalesce((SELECT report FROM dmarc_row ORDER BY id DESC LIMIT 1 OFFSET ?), 0))",
        (MAX_KEPT, MAX_ROWS_KEPT),
    ).fetchone()[0]
    db.execute("DELETE FROM dmarc_row WHERE report <= ?", (oldest,))
    db.execute("DELETE FROM dmarc_report WHERE id <= ?", (oldest,))


def _add_failure(db: Database, one: ReceivedFailure, now: int) -> None:
    db.execute(
        "INSERT INTO dmarc_failure (received_at, reporter, domain, source_ip, failure, delivery, sender, author,"
        " subject, incidents) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            now, one.reporter, one.domain, one.source_ip, one.failure, one.delivery, one.sender, one.author,
            one.subject, one.incidents,
        ),
    )  # fmt: skip
    db.execute("DELETE FROM dmarc_failure WHERE id <= (SELECT max(id) FROM dmarc_failure) - ?", (MAX_KEPT,))


# ── what commands ask ─────────────────────────────────────────────────────────────────────────────────────────────


def summed(db: Database, by: str, domain: str, since: int) -> list[dict[str, Any]]:
    """Sums over the reports about a domain (empty: all) that end after `since`, most first.

    `by` is one of GROUPS.
    """
    groups = GROUPS[by]
    columns = {"day": f"begins_at / {DAY_S} * {DAY_S}"}
    chosen = ", ".join(f"{columns.get(name, name)} AS {name}" for name in groups)
    order = "day DESC, messages DESC" if "day" in groups else "messages DESC"
    rows = db.execute(
        f"SELECT {chosen}, sum(count) AS messages, sum(count * (dkim OR spf)), sum(count * dkim), sum(count * spf),"
        " sum(count * (disposition = 'quarantine')), sum(count * (disposition = 'reject')), max(ends_at)"
        " FROM dmarc_report JOIN dmarc_row ON dmarc_row.report = dmarc_report.id"
        " WHERE ends_at >= ? AND ? IN ('', domain)"
        f" GROUP BY {', '.join(str(number) for number in range(1, len(groups) + 1))} ORDER BY {order} LIMIT ?",
        (since, domain, MAX_SHOWN),
    ).fetchall()
    names = (*groups, "messages", "passed", "dkim", "spf", "quarantined", "rejected", "last_at")
    return [dict(zip(names, row, strict=True)) for row in rows]


def failures(db: Database, limit: int) -> list[dict[str, Any]]:
    """The newest failure reports, the newest first."""
    names = (
        "received_at", "reporter", "domain", "source_ip", "failure", "delivery", "sender", "author", "subject",
        "incidents",
    )  # fmt: skip
    rows = db.execute(
        f"SELECT {', '.join(names)} FROM dmarc_failure ORDER BY id DESC LIMIT ?", (min(limit, MAX_SHOWN),)
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]
