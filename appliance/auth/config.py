"""The settings of logging in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting, within
from appliance.document import dotted
from appliance.errors import Problem
from appliance.pinning import fingerprint_problem

MAX_FAILURE_DELAY = 30.0  # seconds; clients give up after a minute


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthConfig:
    """[auth]: passwords are hashed with argon2id (2 passes, 19 MiB, 1 lane); that is not a setting."""

    failure_delay: float = setting(
        2.0,
        "Seconds from a failed login to its answer; they double with each further failure of the peer, up to 8 times.",
    )
    peer_failures: int = setting(
        20, "Different failed logins from one address (IPv6: one /64) within the window; further ones must wait."
    )
    account_failures: int = setting(
        50, "Different failed logins to one name within the window; peers that never logged in to it must then wait."
    )
    window: int = setting(600, "Seconds for which a failed login counts.")
    weak_mechanisms: Literal["opted-in", "always", "never"] = setting(
        "opted-in",
        "When to offer SCRAM-SHA-1, CRAM-MD5 and APOP: once any account has opted in, always, or never. "
        "They work only for accounts that have opted in; some programs (curl) try CRAM-MD5 first where it is offered, "
        "and fail then for all others.",
    )
    channel_binding: bool = setting(
        False,
        "Offer SCRAM-SHA-256-PLUS over TLS, which ties a login to this server's certificate, so that nobody can sit in "
        "between with another one. Off, because mutt with GNU SASL (Debian 12) takes it, cannot do it, and gives up.",
    )
    certificates: dict[str, str] = setting(
        {},
        "Accounts of client certificates, as [auth.certificates]: SHA-256 fingerprint = account. One that is not here "
        "is a login of the accounts that its addresses (rfc822Name) name. See client_ca in [tls].",
    )
    tls_on_loopback: bool = setting(
        False, "Ask for TLS before a login from this machine too. From elsewhere it is always asked for."
    )

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds."""
        for fingerprint in self.certificates:
            for problem in fingerprint_problem("certificates", (fingerprint,)):
                yield Problem(dotted("certificates", fingerprint), problem.text, problem.remedy)
        yield from within(self, 0, MAX_FAILURE_DELAY, "failure_delay", unit="s")
        yield from within(self, 1, 1000, "peer_failures", "account_failures")
        yield from within(self, 1, 86_400, "window", unit="s")
