"""MTA-STS policies of other domains: looked up, fetched, kept, and fetched again (RFC 8461 sections 3.3 and 5)."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from appliance.dns import DnsError, NoSuchDomainError
from appliance.errors import ApplianceError
from appliance.https import HttpsError, Request, ask
from appliance.store.database import Database
from appliance.tlslink import TlsFailure
from plugins.tlspolicy.protocol_sts import MAX_POLICY, Policy, StsError, parse_policy, record_id

if TYPE_CHECKING:
    import ssl

    from appliance.dns import Resolver
    from plugins.tlspolicy.config import TlspolicyConfig

log = logging.getLogger(__name__)

MAX_KEPT = 5000  # policies; those used least lately go first
MAX_FAILED = 5000  # domains whose policy could not be fetched a moment ago
RETRY_S = 300.0  # after a failed fetch, for the same id (section 3.3)
REFRESH_S = 86_400.0  # a policy that is in use is fetched again after so long, or in the middle of its life
IN_USE_S = 30 * 86_400.0  # a policy that nobody asked for in so long is left to end
TOUCH_S = 86_400.0  # the date of use is written at most once in so long
PATH = "/.well-known/mta-sts.txt"


class FetchError(ApplianceError):
    """A policy could not be had. `failure` is the word for reports (RFC 8460 section 4.3.2)."""

    def __init__(self, text: str, failure: TlsFailure) -> None:
        super().__init__(text)
        self.failure: TlsFailure = failure


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy that was fetched; times are epoch seconds."""

    policy: Policy
    id: str
    fetched_at: float
    used_at: float

    def ended(self, now: float) -> bool:
        """Whether it may not be used any more."""
        return now >= self.fetched_at + self.policy.max_age


@dataclass(frozen=True, slots=True)
class Found:
    """What is known about a domain's policy: the policy or why there is none, and what went wrong, for the report."""

    policy: Policy | None
    why: str
    failure: TlsFailure = ""


class StsPolicies:
    """The policies by domain. `settings`, `context` (verifying) and `now` are asked at every use.

    `timeless` is True while the clock has not been set: then nothing ends, and nothing can be fetched.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        settings: Callable[[], TlspolicyConfig],
        context: Callable[[], ssl.SSLContext],
        now: Callable[[], float],
        timeless: Callable[[], bool] = lambda: False,
    ) -> None:
        self._resolver = resolver
        self._settings, self._context, self._now, self._timeless = settings, context, now, timeless
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._failed: OrderedDict[str, tuple[str, float, FetchError]] = OrderedDict()  # id, when, why
        self._fetching: dict[str, asyncio.Task[Found]] = {}
        self._dirty: set[str] = set()

    async def find(self, domain: str) -> Found:
        """The policy that holds for a domain now. Never raises: what cannot be had is not there (section 5.1)."""
        kept = self._kept.get(domain)
        if kept is not None and not self._timeless() and kept.ended(self._now()):
            self._drop(domain)
            kept = None
        try:
            known_id = record_id(await self._resolver.txt(f"_mta-sts.{domain}"))
        except NoSuchDomainError:
            known_id = None
        except DnsError as error:
            return self._of(domain, kept, f"no MTA-STS: {error}")
        except StsError as error:
            return self._of(domain, kept, f"no MTA-STS: {error}", "sts-policy-invalid")
        if known_id is None:
            return self._of(domain, kept, "no MTA-STS")
        if kept is not None and kept.id == known_id:
            return self._of(domain, kept, "")
        return await self._fetched(domain, known_id, kept)

    def _of(self, domain: str, kept: Kept | None, why: str, failure: TlsFailure = "") -> Found:
        """What is kept, or why there is nothing."""
        if kept is None:
            return Found(None, why, failure)
        if self._now() - kept.used_at > TOUCH_S:
            self._keep(domain, replace(kept, used_at=self._now()))
        self._kept.move_to_end(domain)
        return Found(kept.policy, f"MTA-STS: {kept.policy.mode}", failure)

    async def _fetched(self, domain: str, policy_id: str, kept: Kept | None) -> Found:
        """Fetch the policy of a new id; whoever asks at the same time waits for the same answer."""
        failed = self._failed.get(domain)
        if failed is not None and failed[0] == policy_id and self._now() - failed[1] < RETRY_S:
            return self._of(domain, kept, f"no MTA-STS: {failed[2]}", failed[2].failure)
        task = self._fetching.get(domain)
        if task is None:
            task = self._fetching[domain] = asyncio.create_task(self._try(domain, policy_id, kept))
            task.add_done_callback(lambda _: self._fetching.pop(domain, None))
        return await asyncio.shield(task)

    async def _try(self, domain: str, policy_id: str, kept: Kept | None) -> Found:
        try:
            policy = await self.fetch(domain)
        except FetchError as error:
            log.info("MTA-STS policy of %s: %s", domain, error)
            self._failed[domain] = (policy_id, self._now(), error)
            self._failed.move_to_end(domain)
            while len(self._failed) > MAX_FAILED:
                self._failed.popitem(last=False)
            return self._of(domain, kept, f"no MTA-STS: {error}", error.failure)
        self._failed.pop(domain, None)
        self._keep(domain, Kept(policy, policy_id, self._now(), self._now()))
        return Found(policy, f"MTA-STS: {policy.mode}")

    async def fetch(self, domain: str) -> Policy:
        """Get a policy from its place (section 3.3). Raises FetchError."""
        settings = self._settings()
        request = Request(
            f"mta-sts.{domain}", PATH, settings.https_port, limit=MAX_POLICY, timeout=settings.fetch_timeout
        )
        try:
            answer = await ask(request, self._resolver, self._context())
        except HttpsError as error:
            raise FetchError(str(error), "sts-webpki-invalid" if error.failure else "sts-policy-fetch-error") from error
        except DnsError as error:
            raise FetchError(str(error), "sts-policy-fetch-error") from error
        if answer.status != 200:  # a redirect neither
            raise FetchError(f"{request.host} answered {answer.status}", "sts-policy-fetch-error")
        if answer.media_type != "text/plain":
            raise FetchError(
                f"{request.host} sent {answer.media_type[:60] or 'no type'}, not text/plain", "sts-policy-invalid"
            )
        try:
            return parse_policy(answer.body)
        except StsError as error:
            raise FetchError(str(error), "sts-policy-invalid") from error

    async def refresh(self) -> None:
        """Fetch anew what is in use and no longer young, so that it does not end; one at a time."""
        if self._timeless():
            return
        for domain, kept in list(self._kept.items()):
            now = self._now()
            if kept.ended(now):
                self._drop(domain)
            elif self._is_due(kept, now):
                try:
                    known_id = record_id(await self._resolver.txt(f"_mta-sts.{domain}"))
                except (DnsError, StsError):
                    continue  # it holds until its end
                if known_id is not None and domain not in self._failed:
                    await self._fetched(domain, known_id, kept)
        horizon = self._now() - RETRY_S
        for domain, (_, failed_at, _) in list(self._failed.items()):
            if failed_at < horizon:
                del self._failed[domain]

    @staticmethod
    def _is_due(kept: Kept, now: float) -> bool:
        due_at = kept.fetched_at + min(REFRESH_S, kept.policy.max_age / 2)
        return now >= due_at and now - kept.used_at < IN_USE_S

    def all(self) -> dict[str, Kept]:
        """Every policy that is kept."""
        return dict(self._kept)

    def forget(self, domain: str) -> bool:
        """Keep nothing about a domain. Says whether there was something."""
        self._failed.pop(domain, None)
        return self._drop(domain)

    def _keep(self, domain: str, kept: Kept) -> None:
        self._kept[domain] = kept
        self._kept.move_to_end(domain)
        self._dirty.add(domain)
        while len(self._kept) > MAX_KEPT:
            self._drop(next(iter(self._kept)))

    def _drop(self, domain: str) -> bool:
        self._dirty.add(domain)
        return self._kept.pop(domain, None) is not None

    # ── on the disk ───────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, db: Database) -> None:
        """Read what was kept before."""
        rows = db.execute(
            "SELECT domain, id, mode, mx, max_age, fetched_at, used_at FROM tls_policy ORDER BY used_at LIMIT ?",
            (MAX_KEPT,),
        )
        for domain, known_id, mode, mx, max_age, fetched_at, used_at in rows.fetchall():
            policy = Policy(mode, tuple(mx.split()), max_age)
            self._kept.setdefault(domain, Kept(policy, known_id, fetched_at, used_at))

    def changes(self) -> Callable[[Database], None] | None:
        """What writes all changes; None without any."""
        if not self._dirty:
            return None
        rows = {domain: self._kept.get(domain) for domain in self._dirty}
        self._dirty = set()

        def write(db: Database) -> None:
            for domain, kept in rows.items():
                if kept is None:
                    db.execute("DELETE FROM tls_policy WHERE domain = ?", (domain,))
                    continue
                policy = kept.policy
                row = (domain, kept.id, policy.mode, " ".join(policy.mx), policy.max_age)
                times = (int(kept.fetched_at), int(kept.used_at))
                db.execute("INSERT OR REPLACE INTO tls_policy VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, *times))

        return write
