"""What protects the way to one domain: policies and memory made into terms for each host, and what came of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from appliance.dns import MxHost
from appliance.mail.reply import Reply
from appliance.smtpclient import Hop, HopError, SmtpClient, TlsLevel, TlsPolicy
from appliance.tlslink import TlsFailure
from plugins.tlspolicy.dane import Dane, DaneUnknownError, look_up
from plugins.tlspolicy.protocol_tlsrpt import AppliedPolicy, Failure
from plugins.tlspolicy.sts import Found

if TYPE_CHECKING:
    from plugins.tlspolicy.policies import Policies

MAX_HELO = 100  # characters of a host's own name in a report

_RANK: dict[TlsPolicy, int] = {"off": 0, "opportunistic": 1, "required": 2, "verified": 3}
_LEAST: dict[TlsLevel, TlsPolicy] = {"plain": "opportunistic", "encrypted": "required", "authenticated": "verified"}
_NO_POLICY = AppliedPolicy()


class DomainProtection:
    """See `hookspecs.Protection`. Precedence is that of RFC 8461 section 2: where DANE speaks, MTA-STS is silent."""

    def __init__(self, policies: Policies, domain: str, sts: Found, *, counted: bool) -> None:
        """`counted`: the domain wants reports."""
        self._policies = policies
        self._domain = domain
        self._sts = sts
        self._counted = counted
        if sts.policy is not None and sts.policy.mode == "none":
            policies.memory.lower(domain, "encrypted")  # taken back, as RFC 8461 section 8.3 wants it done
        self._least = policies.memory.level(domain)
        self._applied: dict[str, AppliedPolicy] = {}  # by host
        if counted and sts.failure:
            self._count_failure(AppliedPolicy("sts", domain), Failure(sts.failure, reason=sts.why[:MAX_HELO]))

    async def harden(self, host: MxHost, hop: Hop) -> Hop:
        """The terms for one exchanger. Raises HopError when the domain's policy does not know it, and when it cannot
        be known whether there are TLSA records.
        """
        dane = await self._dane_of(host, hop)
        if dane.state == "authenticate":
            strings = tuple(str(record) for record in dane.records)
            self._applied[hop.host] = AppliedPolicy("tlsa", f"_{hop.port}._tcp.{dane.base}", strings)
            check = dane.check(self._domain, self._policies.now)
            return replace(hop, tls="verified", check=check, server_name=dane.base, why=dane.why, proven=True)
        if dane.state == "encrypt":
            self._count_failure(
                AppliedPolicy("tlsa", f"_{hop.port}._tcp.{dane.base}"), Failure("tlsa-invalid", host.name)
            )
            hop = replace(hop, tls=_stronger(hop.tls, "required"))
        return self._by_memory(self._by_sts(host, replace(hop, why=f"{dane.why}; {self._sts.why}")))

    async def _dane_of(self, host: MxHost, hop: Hop) -> Dane:
        if not self._policies.settings().dane:
            return Dane("none", "no DANE: switched off")
        try:
            return await look_up(self._policies.resolver, host, hop.port)
        except DaneUnknownError as error:
            self._count_failure(AppliedPolicy("tlsa", host.name), Failure("dnssec-invalid", host.name))
            raise HopError(Reply(451, "4.7.5", f"{host.name}: {error}"), peer="") from error

    def _by_memory(self, hop: Hop) -> Hop:
        """Not less than the domain has come to before."""
        least, now = _LEAST[self._least], hop.otherwise or hop.tls
        if _RANK[least] <= _RANK[now]:
            return hop
        words = "spoken TLS" if self._least == "encrypted" else "proven its name"
        why = f"{hop.why}; the domain has {words} before"
        if hop.otherwise is not None and least != hop.tls:
            return replace(hop, otherwise=least, why=why)
        return replace(hop, tls=least, otherwise=None, why=why)

    def _by_sts(self, host: MxHost, hop: Hop) -> Hop:
        policy = self._sts.policy
        if policy is None or policy.mode == "none":
            return hop
        applied = AppliedPolicy("sts", self._domain, tuple(policy.lines()), policy.mx)
        self._applied[hop.host] = applied
        if not policy.admits(host.name):
            self._count_failure(applied, Failure("validation-failure", host.name, reason="mx not in the policy"))
            if policy.mode == "testing":
                return hop
            text = f"the MTA-STS policy of {self._domain} does not name the exchanger {host.name}"
            raise HopError(Reply(451, "4.7.5", text), peer="", tls_failure="validation-failure")
        if policy.mode == "testing" and hop.tls != "verified":
            return replace(hop, tls="verified", otherwise=hop.tls, proven=True)
        return replace(hop, tls="verified", proven=True)

    # ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────

    def connected(self, client: SmtpClient) -> None:
        """Remember and count a connection that can be used."""
        host, level = client.hop.host, client.level
        by_dane = client.hop.check is not None
        self._policies.memory.note(self._domain, "encrypted" if by_dane and level != "plain" else level)
        applied = self._applied.get(host, _NO_POLICY)
        if level == "plain":
            # A second try, in clear or without the policy, is no further failure: the first is counted.
            if client.hop.tls == "opportunistic" and applied.type == "no-policy-found":
                self._count_failure(applied, self._failure(client, "starttls-not-supported"))
        elif applied.type != "sts" or client.hop.tls == "verified":  # else the policy failed, and is not enforced
            self._count_success(applied)

    def failed(self, client: SmtpClient, error: HopError) -> None:
        """Count a host whose TLS failed, and tell of a downgrade that was refused."""
        if not error.tls_failure:
            return
        applied = self._applied.get(client.hop.host, _NO_POLICY)
        self._count_failure(applied, self._failure(client, error.tls_failure, str(error.reply.text)[:MAX_HELO]))
        if self._least != "plain" and client.hop.otherwise is None and applied.type == "no-policy-found":
            self._policies.memory.refuse(self._domain, f"{client.peer}: {error.reply.text}")

    def _failure(self, client: SmtpClient, result: TlsFailure, reason: str = "") -> Failure:
        connection = client.connection
        return Failure(
            result,
            client.hop.host,
            connection.peer_ip,
            connection.local_ip,
            client.machine.peer_name[:MAX_HELO],
            reason,
        )

    def _count_success(self, applied: AppliedPolicy) -> None:
        if self._counted:
            self._policies.tallies.success(self._domain, self._with_domain(applied))

    def _count_failure(self, applied: AppliedPolicy, failure: Failure) -> None:
        if self._counted:
            self._policies.tallies.failure(self._domain, self._with_domain(applied), failure)

    def _with_domain(self, applied: AppliedPolicy) -> AppliedPolicy:
        return applied if applied.domain else replace(applied, domain=self._domain)


def _stronger(one: TlsPolicy, other: TlsPolicy) -> TlsPolicy:
    return one if _RANK[one] >= _RANK[other] else other
