"""BIMI's record and selector, and which policies it takes (draft-brand-indicators-for-message-identification). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance.mail.headers import text_of
from plugins.spam.dkim.protocol_tags import TagError, parse_tags

MAX_RECORD = 4096
MAX_URI = 1024
DEFAULT = "default"

_VERSION = re.compile(rb"\s*v\s*=\s*BIMI1\s*(?:;|\Z)")
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_URI = re.compile(r"https://[!#-\[\]-~]+", re.IGNORECASE)  # fit for quotation marks
_POLICY = re.compile(r"p=(?:reject|(?P<quarantine>quarantine)) sp=(?:reject|quarantine) pct=(?P<percent>\d+)")


@dataclass(frozen=True, slots=True)
class Record:
    """Where the picture is and where the evidence that it may be used; both empty where the domain wants none shown."""

    location: str
    authority: str = ""

    @property
    def declined(self) -> bool:
        """Whether the domain asks for no picture."""
        return not self.location and not self.authority


def is_record(text: bytes) -> bool:
    """Whether a TXT record claims to be BIMI's."""
    return _VERSION.match(text) is not None


def read_record(text: bytes) -> Record:
    """Read a record (section 4.2). Raises TagError."""
    if len(text) > MAX_RECORD:
        raise TagError(f"the record has more than {MAX_RECORD} octets")
    tags = parse_tags(text_of(text))
    if "l" not in tags:
        raise TagError("l= is missing")
    return Record(_uri(tags, "l"), _uri(tags, "a"))


def _uri(tags: dict[str, str], name: str) -> str:
    value = tags.get(name, "")
    if value and (_URI.fullmatch(value) is None or len(value) > MAX_URI):
        raise TagError(f"{name}= is no https: address")
    return value


def read_selector(value: bytes) -> str:
    """The selector of a BIMI-Selector field (section 4.3); the default where it is none."""
    try:
        selector = parse_tags(text_of(value)).get("s", "").lower()
    except TagError:
        return DEFAULT
    return selector if _SELECTOR.fullmatch(selector) else DEFAULT


def enforces(policy: str) -> bool:
    """Whether a DMARC policy, as the finding of spam.dmarc has it, keeps forgers out (section 7.1)."""
    found = _POLICY.fullmatch(policy)
    return found is not None and (found["quarantine"] is None or found["percent"] == "100")
