"""TLS reports on paper: the TXT record, writing a report, reading those of others with caps (RFC 8460). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from appliance.errors import AddressError, ApplianceError
from appliance.mail.address import Address
from appliance.mail.packed import PackedError, gunzip
from appliance.mail.text import one_line

MAX_URIS: Final = 10  # of one record
MAX_PACKED: Final = 1 << 20  # octets of a compressed report
MAX_REPORT: Final = 8 << 20  # octets of a report, unpacked
MAX_POLICIES: Final = 1000  # policies of one report
MAX_FAILURES: Final = 1000  # failure details of one policy
MAX_TEXT: Final = 250  # characters of one value that are kept

PolicyType = Literal["sts", "tlsa", "no-policy-found"]


class TlsrptError(ApplianceError):
    """The record or the report is not as the RFC wants it, or passes a cap."""


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """What a connection was held against (section 4.4): a report counts for each of them."""

    type: PolicyType = "no-policy-found"
    domain: str = ""  # the recipients' domain, or for "tlsa" the name the records stand under
    strings: tuple[str, ...] = ()  # the lines of the policy, or the TLSA records
    mx_hosts: tuple[str, ...] = ()  # the patterns of an MTA-STS policy


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of failed session (section 4.4)."""

    result: str  # of section 4.3
    receiving_mx: str = ""
    receiving_ip: str | None = None
    sending_ip: str = ""
    helo: str = ""
    reason: str = ""


@dataclass(slots=True)
class Counted:
    """The sessions of one day under one policy."""

    policy: AppliedPolicy
    successes: int
    failures: dict[Failure, int]


def report_uris(texts: Sequence[bytes]) -> list[str]:
    """Where reports about a domain go, by the TXT records of `_smtp._tls.DOMAIN`: mailto: and https: (section 3).

    Empty where there is no record, more than one, or none that is well formed.
    """
    ours = [text for text in texts if re.match(rb"v=TLSRPTv1[ \t]*(?:;|\Z)", text)]
    if len(ours) != 1:
        return []
    for piece in ours[0].decode("ascii", "replace").split(";")[1:]:
        key, _, value = piece.strip(" \t").partition("=")
        if key.strip(" \t") == "rua":
            return [uri for uri in (one.strip(" \t") for one in value.split(",")[:MAX_URIS]) if _is_uri(uri)]
    return []


def _is_uri(uri: str) -> bool:
    return mail_address(uri) is not None or https_target(uri) is not None


def mail_address(uri: str) -> Address | None:
    """The address of a mailto: URI."""
    if not uri.lower().startswith("mailto:"):
        return None
    try:
        return Address.parse(unquote(uri[7:].partition("?")[0]))
    except AddressError:
        return None


def https_target(uri: str) -> tuple[str, int, str] | None:
    """Host, port and path of an https: URI."""
    try:
        parts = urlsplit(uri)
        port = parts.port or 443
    except ValueError:
        return None
    if parts.scheme.lower() != "https" or not parts.hostname or "@" in parts.netloc or not uri.isprintable():
        return None
    return parts.hostname, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def write_report(
    counted: Sequence[Counted], *, organization: str, contact: str, report_id: str, begin: int, end: int
) -> bytes:
    """The JSON of a report for one domain (section 4.4). `begin` and `end` are epoch seconds of its first and last."""
    report = {
        "organization-name": organization,
        "date-range": {"start-datetime": _utc(begin), "end-datetime": _utc(end)},
        "contact-info": contact,
        "report-id": report_id,
        "policies": [_policy(one) for one in counted],
    }
    return json.dumps(report, ensure_ascii=False, separators=(",", ":")).encode()


def _utc(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _policy(one: Counted) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": one.policy.type, "policy-domain": one.policy.domain}
    if one.policy.strings:
        policy["policy-string"] = list(one.policy.strings)
    if one.policy.mx_hosts:
        policy["mx-host"] = list(one.policy.mx_hosts)
    entry: dict[str, Any] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": one.successes,
            "total-failure-session-count": sum(one.failures.values()),
        },
    }
    if one.failures:
        entry["failure-details"] = [_failure(failure, count) for failure, count in one.failures.items()]
    return entry


def _failure(failure: Failure, count: int) -> dict[str, Any]:
    named = {
        "result-type": failure.result,
        "sending-mta-ip": failure.sending_ip,
        "receiving-mx-hostname": failure.receiving_mx,
        "receiving-mx-helo": failure.helo,
        "receiving-ip": failure.receiving_ip,
        "failure-reason-code": failure.reason,
    }
    return {key: value for key, value in named.items() if value} | {"failed-session-count": count}


# ── reports of others ─────────────────────────────────────────────────────────────────────────────────────────────


class _Range(msgspec.Struct, rename="kebab"):
    start_datetime: str
    end_datetime: str


class _Policy(msgspec.Struct, rename="kebab"):
    policy_type: str
    policy_domain: str = ""


class _Summary(msgspec.Struct, rename="kebab"):
    total_successful_session_count: int = 0
    total_failure_session_count: int = 0


class _Detail(msgspec.Struct, rename="kebab"):
    result_type: str
    failed_session_count: int = 0
    sending_mta_ip: str | None = None
    receiving_mx_hostname: str | None = None
    receiving_ip: str | None = None
    failure_reason_code: str | None = None


class _Entry(msgspec.Struct, rename="kebab"):
    policy: _Policy
    summary: _Summary = msgspec.field(default_factory=_Summary)
    failure_details: list[_Detail] = msgspec.field(default_factory=list)


class _Report(msgspec.Struct, rename="kebab"):
    organization_name: str
    date_range: _Range
    report_id: str
    policies: list[_Entry]
    contact_info: str | None = None


_decode = msgspec.json.Decoder(_Report).decode


@dataclass(frozen=True, slots=True)
class ReceivedPolicy:
    """What somebody tells about sessions with one of our domains under one policy."""

    type: str
    domain: str
    successes: int
    failures: int
    details: tuple[str, ...]  # in words, one for each kind of failure


@dataclass(frozen=True, slots=True)
class Received:
    """A report of somebody else's, cut to what is shown."""

    organization: str
    report_id: str
    begin: str  # as the report writes it: RFC 3339
    end: str
    policies: tuple[ReceivedPolicy, ...]


def read_report(data: bytes, *, packed: bool) -> Received:
    """Read a report. Raises TlsrptError, past MAX_PACKED and MAX_REPORT too: a small file can unpack to gigabytes."""
    if packed:
        if len(data) > MAX_PACKED:
            raise TlsrptError(f"the compressed report has more than {MAX_PACKED} octets")
        try:
            data = gunzip(data, MAX_REPORT)
        except PackedError as error:
            raise TlsrptError(f"the report: {error}") from error
    if len(data) > MAX_REPORT:
        raise TlsrptError(f"the report has more than {MAX_REPORT} octets")
    try:
        report = _decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TlsrptError(f"this is no TLS report: {error!s:.200}") from error
    if len(report.policies) > MAX_POLICIES:
        raise TlsrptError(f"the report has more than {MAX_POLICIES} policies")
    return Received(
        _cut(report.organization_name),
        _cut(report.report_id),
        _cut(report.date_range.start_datetime),
        _cut(report.date_range.end_datetime),
        tuple(_received(entry) for entry in report.policies),
    )


def _received(entry: _Entry) -> ReceivedPolicy:
    details = [
        _cut(
            f"{one.failed_session_count} × {one.result_type}"
            + (f" at {one.receiving_mx_hostname}" if one.receiving_mx_hostname else "")
            + (f" [{one.receiving_ip}]" if one.receiving_ip else "")
            + (f" from {one.sending_mta_ip}" if one.sending_mta_ip else "")
            + (f": {one.failure_reason_code}" if one.failure_reason_code else "")
        )
        for one in entry.failure_details[:MAX_FAILURES]
    ]
    summary = entry.summary
    counts = (summary.total_successful_session_count, summary.total_failure_session_count)
    successes, failures = (max(0, min(count, 1 << 53)) for count in counts)
    return ReceivedPolicy(
        _cut(entry.policy.policy_type), _cut(entry.policy.policy_domain), successes, failures, tuple(details)
    )


def _cut(text: str) -> str:
    """Fit for a table."""
    return one_line(text, MAX_TEXT)
