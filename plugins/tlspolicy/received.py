"""Reports of others about our domains: found in the mail that comes for them, read with caps, and kept to be shown."""

from __future__ import annotations

import asyncio
import logging
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import TYPE_CHECKING, Any

import msgspec

from appliance.core import Core
from appliance.mail.message import Message
from plugins.tlspolicy.own import report_address
from plugins.tlspolicy.protocol_tlsrpt import MAX_PACKED, MAX_REPORT, Received, TlsrptError, read_report

if TYPE_CHECKING:
    from appliance.mail.envelope import Envelope
    from appliance.store import Accepted
    from appliance.store.database import Database

log = logging.getLogger(__name__)

MAX_KEPT = 1000  # reports; the oldest go first
MAX_SHOWN = 1000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Received).decode


class ReceivedReports:
    """Looks into accepted mail for our report address; anything else costs one comparison."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def look(self, envelope: Envelope, accepted: Accepted) -> None:
        """If the message is for the report address and holds a report, keep what it says."""
        wanted = [one.address for one in envelope.recipients if self._is_ours(one.address.domain, str(one.address))]
        if not wanted or not accepted.body_id:
            return
        message = await self._core.store.load(accepted.body_id)
        if b"tlsrpt" not in message.header.lower():
            return
        try:
            report = await asyncio.to_thread(report_in, message)
        except TlsrptError as error:
            log.warning("a TLS report for %s cannot be read: %s", wanted[0], error)
            return
        if report is not None:
            await self._core.store.soft.write(lambda db: _add(db, report, int(self._core.now())))

    def _is_ours(self, domain: str, address: str) -> bool:
        return address.lower() in {report_address(self._core, domain).lower(), report_address(self._core).lower()}

    async def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest reports, one row for each policy in them, the newest first."""
        found = await self._core.store.soft.read(lambda db: _newest(db, min(limit, MAX_SHOWN)))
        rows = []
        for received_at, data in found or ():
            try:
                report = _decode(data)
            except msgspec.DecodeError:
                continue
            rows += [
                {
                    "received_at": received_at,
                    "organization": report.organization,
                    "report_id": report.report_id,
                    "begin": report.begin,
                    "end": report.end,
                    "domain": policy.domain,
                    "policy": policy.type,
                    "successes": policy.successes,
                    "failures": policy.failures,
                    "details": list(policy.details),
                }
                for policy in report.policies
            ]
        return rows


def report_in(message: Message) -> Received | None:
    """The report in a message (RFC 8460 section 5.3); None if there is none. Raises TlsrptError."""
    for part in message.structure.walk():
        if part.type != "application" or part.subtype not in ("tlsrpt+gzip", "tlsrpt+json"):
            continue
        packed = part.subtype == "tlsrpt+gzip"
        limit = MAX_PACKED if packed else MAX_REPORT
        if part.end - part.body_start > limit * 3 // 2:
            raise TlsrptError(f"the report has more than {limit} octets")
        data = bytes(message.text[part.body_start : part.end])
        try:
            if part.encoding.lower() == "base64":
                data = a2b_base64(data)
        except Base64Error as error:
            raise TlsrptError(f"the report is no base64: {error}") from error
        return read_report(data, packed=packed)
    return None


def _add(db: Database, report: Received, now: int) -> None:
    row = (now, report.organization, report.report_id, report.begin, report.end, _encode(report))
    db.execute(
        "INSERT OR REPLACE INTO tls_report (received_at, organization, report_id, begins, ends, data)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        row,
    )
    db.execute("DELETE FROM tls_report WHERE id <= (SELECT max(id) FROM tls_report) - ?", (MAX_KEPT,))


def _newest(db: Database, limit: int) -> list[tuple[int, bytes]]:
    return list(db.execute("SELECT received_at, data FROM tls_report ORDER BY id DESC LIMIT ?", (limit,)).fetchall())
