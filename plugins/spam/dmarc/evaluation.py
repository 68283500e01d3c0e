"""Finds the author's policy and compares what was proven with the author's domain (RFC 7489 section 6.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.dns import DnsError, NoSuchDomainError, TemporaryDnsError
from appliance.mail.finding import Finding
from plugins.spam.dkim.keys import Names
from plugins.spam.dkim.protocol_tags import TagError
from plugins.spam.dmarc.protocol_policy import Policy, Record, aligned, is_record, read_record

Result = Literal["none", "pass", "fail", "temperror", "permerror"]


@dataclass(frozen=True, slots=True)
class Published:
    """A policy and the domain at which it was found."""

    domain: str
    record: Record


@dataclass(frozen=True, slots=True)
class Verdict:
    """What DMARC says of a message. `by` names what was aligned, `policy` is what the domain asks for on a fail."""

    result: Result
    author: str
    policy: Policy = "none"
    by: str = ""
    why: str = ""
    published: Published | None = None
    spf_aligned: bool = False
    dkim_aligned: bool = False


async def evaluate(
    names: Names, author: str, findings: Sequence[Finding], organization: Callable[[str], str]
) -> Verdict:
    """Judge by the findings of SPF and DKIM. `author` has A-labels; raises nothing for what DNS holds."""
    try:
        published = await find_policy(names, author, organization(author))
    except TemporaryDnsError as error:
        return Verdict("temperror", author, why=str(error))
    except TagError as error:
        return Verdict("permerror", author, why=str(error))
    if published is None:
        return Verdict("none", author)
    record = published.record

    def speaks(finding: Finding, *, strict: bool) -> bool:
        domain = finding.domain.lower()
        pair = (organization(author), organization(domain))
        return finding.result == "pass" and aligned(author, domain, pair, strict=strict)

    spf = any(finding.name == "spf" and speaks(finding, strict=record.strict_spf) for finding in findings)
    signers = [
        finding.domain for finding in findings if finding.name == "dkim" and speaks(finding, strict=record.strict_dkim)
    ]
    if spf or signers:
        by = "DKIM" if signers else "SPF"
        return Verdict("pass", author, "none", by, "", published, spf, bool(signers))
    if any(finding.result == "temperror" and finding.name in {"spf", "dkim"} for finding in findings):
        return Verdict("temperror", author, why="SPF or DKIM could not be checked", published=published)
    below = published.domain != author
    policy = record.applied(below=below, exists=not below or await _exists(names, author))
    return Verdict("fail", author, policy, published=published)


async def find_policy(names: Names, author: str, organization: str) -> Published | None:
    """The policy of the author's domain, else of its organisational domain (section 6.6.3).

    Raises TagError, TemporaryDnsError.
    """
    for domain in dict.fromkeys((author, organization)):
        try:
            answer = await names.look_up(f"_dmarc.{domain}", "TXT")
        except NoSuchDomainError:
            continue
        records = [text for text in answer.records if is_record(text)]
        if len(records) == 1:
            return Published(domain, read_record(records[0]))
        if records:  # section 6.6.3, step 5: several are none
            return None
    return None


async def _exists(names: Names, domain: str) -> bool:
    """Whether a domain is there at all (RFC 9091 section 2.7): MX, A and AAAA are asked."""
    for rdtype in ("MX", "A", "AAAA"):
        try:
            if (await names.look_up(domain, rdtype)).records:
                return True
        except NoSuchDomainError:
            return False
        except DnsError:
            return True
    return False
