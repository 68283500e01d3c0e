"""Writing an aggregate report (RFC 7489 section 7.2 and appendix C; the successor's form is RFC 9990's). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final, Literal

from appliance.mail.text import one_line
from plugins.spam.dmarc.protocol_policy import Policy

Form = Literal["rfc7489", "rfc9990"]
Reason = Literal["", "sampled_out", "trusted_forwarder", "local_policy", "policy_test_mode"]

MAX_TEXT: Final = 1000  # characters of one value
NAMESPACE: Final = "urn:ietf:params:xml:ns:dmarc-2.0"

# What only one of the forms has a word for.
_REASONS_7489 = {"policy_test_mode": "other"}
_REASONS_9990 = {"sampled_out": "other"}


@dataclass(frozen=True, slots=True)
class PolicyPublished:
    """What a domain's policy record said. `addresses` are those that it wants reports at."""

    domain: str
    policy: Policy
    subdomain_policy: Policy
    strict_dkim: bool = False
    strict_spf: bool = False
    percent: int = 100
    testing: bool = False
    failure_options: str = "0"
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signed:
    """What became of one DKIM signature."""

    domain: str
    selector: str
    result: str


@dataclass(frozen=True, slots=True)
class Row:
    """What messages have in common that are counted as one."""

    source_ip: str
    disposition: Policy
    dkim: bool  # a signature was right and aligned
    spf: bool
    header_from: str
    envelope_from: str = ""
    reason: Reason = ""
    comment: str = ""
    signed: tuple[Signed, ...] = ()
    spf_domain: str = ""
    spf_scope: Literal["mfrom", "helo"] = "mfrom"
    spf_result: str = "none"


@dataclass(frozen=True, slots=True)
class Facts:
    """Who reports on which time. `begin` and `end` are the first and the last of its epoch seconds."""

    organization: str
    email: str
    report_id: str
    begin: int
    end: int
    error: str = ""


def write_report(facts: Facts, published: PolicyPublished, rows: Mapping[Row, int], form: Form = "rfc7489") -> bytes:
    """The XML of a report about one domain; `rows` must not be empty."""
    start = "<feedback>" if form == "rfc7489" else f'<feedback xmlns="{NAMESPACE}">'
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        start,
        _text("version", "1.0"),
        _metadata(facts),
        _published(published, form),
        *(_record(row, count, published, form) for row, count in rows.items()),
        "</feedback>",
        "",
    ]
    return "\n".join(parts).encode()


def _metadata(facts: Facts) -> str:
    return _tag(
        "report_metadata",
        _text("org_name", facts.organization),
        _text("email", facts.email),
        _text("report_id", facts.report_id),
        _tag("date_range", _text("begin", str(facts.begin)), _text("end", str(facts.end))),
        _text("error", facts.error) if facts.error else "",
    )


def _published(one: PolicyPublished, form: Form) -> str:
    testing = _text("testing", "y" if one.testing else "n")
    return _tag(
        "policy_published",
        _text("domain", one.domain),
        _text("discovery_method", "psl") if form == "rfc9990" else "",
        _text("adkim", "s" if one.strict_dkim else "r"),
        _text("aspf", "s" if one.strict_spf else "r"),
        _text("p", one.policy),
        _text("sp", one.subdomain_policy),
        _text("pct", str(one.percent)) if form == "rfc7489" else testing,
        _text("fo", one.failure_options),
    )


def _record(row: Row, count: int, published: PolicyPublished, form: Form) -> str:
    disposition: str = row.disposition
    if form == "rfc9990" and (row.dkim or row.spf) and published.policy != "none":
        disposition = "pass"
    evaluated = _tag(
        "policy_evaluated",
        _text("disposition", disposition),
        _text("dkim", "pass" if row.dkim else "fail"),
        _text("spf", "pass" if row.spf else "fail"),
        _reason(row, form),
    )
    identifiers = _tag("identifiers", _text("envelope_from", row.envelope_from), _text("header_from", row.header_from))
    results = _tag(
        "auth_results",
        *(
            _tag("dkim", _text("domain", one.domain), _text("selector", one.selector), _text("result", one.result))
            for one in row.signed
        ),
        _tag(
            "spf",
            _text("domain", row.spf_domain or row.header_from),
            # RFC 9990 knows no other; for a bounce, the HELO name is the domain of MAIL FROM (RFC 7208 section 2.4).
            _text("scope", "mfrom" if form == "rfc9990" else row.spf_scope),
            _text("result", row.spf_result),
        ),
    )
    seen = _tag("row", _text("source_ip", row.source_ip), _text("count", str(count)), evaluated)
    return _tag("record", seen, identifiers, results)


def _reason(row: Row, form: Form) -> str:
    if not row.reason:
        return ""
    words = (_REASONS_7489 if form == "rfc7489" else _REASONS_9990).get(row.reason, row.reason)
    return _tag("reason", _text("type", words), _text("comment", row.comment) if row.comment else "")


def _tag(name: str, *inner: str) -> str:
    return f"<{name}>{''.join(inner)}</{name}>"


def _text(name: str, value: str) -> str:
    return f"<{name}>{escape(one_line(value, MAX_TEXT), quote=False)}</{name}>"
