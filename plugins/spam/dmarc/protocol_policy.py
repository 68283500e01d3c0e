"""A DMARC policy record, and whether a domain is aligned with another (RFC 7489 sections 3.1 and 6.3).

The successor's tags `np`, `psd` and `t` are read as well; `pct` is honoured where `t` is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from plugins.spam.dkim.protocol_tags import TagError, parse_tags

MAX_RECORD = 8192
MAX_URIS = 5  # reports are sent to at most so many places

Policy = Literal["none", "quarantine", "reject"]
_VERSION = re.compile(rb"\s*v\s*=\s*DMARC1\s*(?:;|\Z)")
_POLICIES: dict[str, Policy] = {"none": "none", "quarantine": "quarantine", "reject": "reject"}
_URI = re.compile(r"mailto:([^,!?\s]+)(?:!(\d{1,9})([kmgt]?))?", re.IGNORECASE)
_OPTIONS = re.compile(r"[01ds](?:\s*:\s*[01ds]){0,3}", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True)
class ReportUri:
    """Where reports go, and the most octets that are taken there (0: as many as there are)."""

    address: str
    max_octets: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What a domain asks receivers to do."""

    policy: Policy
    subdomain_policy: Policy
    missing_policy: Policy  # for subdomains that do not exist
    strict_dkim: bool = False
    strict_spf: bool = False
    percent: int = 100
    testing: bool = False
    reports: tuple[ReportUri, ...] = ()
    failure_reports: tuple[ReportUri, ...] = ()
    failure_options: str = "0"

    def applied(self, *, below: bool, exists: bool) -> Policy:
        """The policy for the domain of the record itself, or for one `below` it, which may not exist."""
        if not below:
            return self.policy
        return self.subdomain_policy if exists else self.missing_policy


def is_record(text: bytes) -> bool:
    """Whether a TXT record claims to be a policy."""
    return _VERSION.match(text) is not None


def read_record(text: bytes) -> Record:
    """Read a policy. Raises TagError; what RFC 7489 wants to be ignored is ignored."""
    if len(text) > MAX_RECORD:
        raise TagError(f"the record has more than {MAX_RECORD} octets")
    tags = {name.lower(): value for name, value in parse_tags(text.decode("latin-1")).items()}
    reports = read_uris(tags.get("rua", ""))
    policy = _POLICIES.get(tags.get("p", "").lower())
    if policy is None:
        if not reports:  # section 6.6.3, step 6
            raise TagError("p= is no policy")
        policy = "none"
    below = _POLICIES.get(tags.get("sp", "").lower(), policy)
    missing = _POLICIES.get(tags.get("np", "").lower(), below)
    percent = tags.get("pct", "100")
    return Record(
        policy, below, missing,
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        percent=min(100, int(percent)) if percent.isascii() and percent.isdigit() and len(percent) < 4 else 100,
        testing=tags.get("t", "n").lower() == "y",
        reports=reports,
        failure_reports=read_uris(tags.get("ruf", "")),
        failure_options=options if _OPTIONS.fullmatch(options := tags.get("fo", "0")) else "0",
    )  # fmt: skip


def aligned(author: str, proven: str, organizations: tuple[str, str], *, strict: bool) -> bool:
    """Whether a proven domain speaks for the author's; `organizations` are the organisational domains of both."""
    if not proven:
        return False
    return author == proven or (not strict and organizations[0] == organizations[1])


def read_uris(text: str) -> tuple[ReportUri, ...]:
    """The addresses in `rua` or `ruf`, at most MAX_URIS; what is no mailto: is passed over (section 6.2)."""
    found = []
    for one in text.split(","):
        uri = _URI.fullmatch(one.strip())
        if uri is not None:
            found.append(ReportUri(unquote(uri[1]), int(uri[2] or 0) * _UNITS[uri[3].lower() if uri[3] else ""]))
    return tuple(found[:MAX_URIS])
