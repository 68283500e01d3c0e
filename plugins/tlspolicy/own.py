"""What we publish ourselves: our MTA-STS policy, and the records that belong to it and to reports."""

from __future__ import annotations

import hashlib

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.hookspecs import DnsRecord
from plugins.tlspolicy.config import TlspolicyConfig
from plugins.tlspolicy.protocol_sts import Policy

DAY_S = 86_400


def own_policy(core: Core) -> str:
    """The text of our policy file, the same for all our domains (RFC 8461 section 3.2)."""
    settings = core.settings[TlspolicyConfig]
    mx = settings.publish_mx or (core.settings[CoreConfig].hostname,)
    policy = Policy(settings.publish, tuple(name.lower() for name in mx), int(settings.publish_max_age_days * DAY_S))
    return "\r\n".join([*policy.lines(), ""])


def policy_id(core: Core) -> str:
    """The id that changes whenever the policy does: others fetch it again then."""
    return hashlib.sha256(own_policy(core).encode()).hexdigest()[:20]


def report_address(core: Core, domain: str = "") -> str:
    """Where reports about us go and ours come from; for a domain of ours, or for the whole machine."""
    settings, config = core.settings[TlspolicyConfig], core.settings[CoreConfig]
    if settings.report_address:
        return settings.report_address
    if not domain and config.postmaster:
        return config.postmaster
    return f"postmaster@{domain or (config.domains[0] if config.domains else config.hostname)}"


def _tlsa(core: Core, hostname: str) -> list[DnsRecord]:
    """The record for our own certificate, known while the appliance runs. It stays good as long as the key does."""
    facts = core.certificates.facts()
    found = facts.get(hostname) or facts.get("")
    if found is None:
        return []
    words = "DANE, if the zone is signed; to be changed whenever the certificate's key is"
    return [DnsRecord(f"_25._tcp.{hostname}", "TLSA", f"3 1 1 {found.key_digest.hex()}", words)]


def dns_records(core: Core, domain: str) -> list[DnsRecord]:
    """The records for MTA-STS and TLS reports of one domain of ours."""
    hostname = core.settings[CoreConfig].hostname
    return [
        *_tlsa(core, hostname),
        DnsRecord(f"_mta-sts.{domain}", "TXT", f"v=STSv1; id={policy_id(core)};", "there is an MTA-STS policy"),
        DnsRecord(f"mta-sts.{domain}", "CNAME", f"{hostname}.", "where https serves it: /.well-known/mta-sts.txt"),
        DnsRecord(
            f"_smtp._tls.{domain}", "TXT", f"v=TLSRPTv1; rua=mailto:{report_address(core, domain)}", "TLS reports"
        ),
    ]
