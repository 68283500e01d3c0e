"""Whether a list can be believed: one that lists everybody, or nobody, or answers with errors, says nothing."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence

from appliance.core import Core
from appliance.dns import DnsError, NoSuchDomainError
from plugins.spam.dnsbl.config import DnsList

log = logging.getLogger(__name__)

CHECK_EVERY_S = 3600.0
MAX_FAILURES = 10  # questions in a row without an answer, after which a list rests
REST_S = 600.0
LISTED = ipaddress.ip_network("127.0.0.0/16")
ERRORS = ipaddress.ip_network("127.255.255.0/24")  # "you may not ask" and the like

# What must be listed, and what must not (RFC 5782 section 5).
_TESTS = {
    "peers": ("2.0.0.127", "1.0.0.127"),
    "senders": ("test", "invalid"),
    "links": ("test", "invalid"),
}


class Health:
    """One list's state, on the clock that never jumps."""

    def __init__(self, zone: DnsList) -> None:
        self.zone = zone
        self.problem = ""
        self._checked_at = -CHECK_EVERY_S
        self._failures = 0
        self._rest_until = 0.0

    def usable(self, now: float) -> bool:
        """Whether it is worth asking."""
        return not self.problem and now >= self._rest_until

    def due(self, now: float) -> bool:
        """Whether its own test is to be made."""
        return now - self._checked_at >= CHECK_EVERY_S

    async def check(self, core: Core, now: float) -> None:
        """Ask for what must be listed and what must not. A list that does not answer keeps its state."""
        self._checked_at = now
        bad, good = _TESTS[self.zone.kind]
        try:
            listed = await ask(core, self.zone, bad)
            everybody = await ask(core, self.zone, good)
        except ListError as error:
            self._set(str(error))
            return
        except DnsError as error:
            log.debug("the list %s could not be tested: %s", self.zone.zone, error)
            return
        if everybody:
            self._set("lists everybody: it has been shut down, or somebody answers in its place")
        elif not listed and self.zone.kind == "peers":
            self._set("does not list its own test entry")
        else:
            self._set("")

    def answered(self) -> None:
        """A question was answered."""
        self._failures = 0

    def failed(self, now: float, why: str = "") -> None:
        """A question was not answered, or by an error."""
        if why:
            self._set(why)
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._failures, self._rest_until = 0, now + REST_S
            log.warning("the list %s does not answer; it is left alone for %.0f minutes", self.zone.zone, REST_S / 60)

    def _set(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("the list %s %s", self.zone.zone, problem or "can be believed again")
        self.problem = problem


class ListError(DnsError):
    """The list answers that it does not want to answer us. The text follows its name."""


async def ask(core: Core, zone: DnsList, name: str) -> str:
    """The list's answer about a name, empty if it is not listed. Raises TemporaryDnsError, ListError."""
    try:
        answers: Sequence[str] = (await core.resolver.look_up(f"{name}.{zone.zone}", "A")).records
    except NoSuchDomainError:
        return ""
    wanted = [ipaddress.ip_network(text, strict=False) for text in zone.codes] or [LISTED]
    for text in answers:
        address = ipaddress.ip_address(text)
        if address in ERRORS:
            raise ListError(f"refuses our questions ({text}): ask with a key, or through a name server of your own")
        if any(address in network for network in wanted):
            return text
    return ""
