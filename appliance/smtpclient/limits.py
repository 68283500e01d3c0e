"""What a host says it takes over one connection (RFC 9422), and what of that is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply

NEXT_CONNECTION = Reply(451, "4.5.3", "the host takes no more of this message over one connection")
"""Stands for a verdict where the host has given none: the recipient goes over another connection at once."""


class Allowance:
    """One connection's account. Names that are not known here count for nothing, as section 3.7 has it."""

    __slots__ = ("_domains", "_mails", "_recipients", "_seen")

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._mails = limits.get("MAILMAX")
        self._recipients = limits.get("RCPTMAX")
        self._domains = limits.get("RCPTDOMAINMAX")
        self._seen: set[str] = set()

    @property
    def spent(self) -> bool:
        """Whether not one more MAIL may be said (section 4.1)."""
        return self._mails is not None and self._mails <= 0

    def room_for(self, recipients: Iterable[Recipient]) -> bool:
        """Whether a message for these has a place, if only for some of them."""
        if self.spent:
            return False
        return self._domains is None or any(self._fits(_domain(one), self._seen) for one in recipients)

    def choose(self, indices: Sequence[int], recipients: Sequence[Recipient], most: int) -> list[int]:
        """Which of the recipients `indices` may be named in the next transaction, which begins by this (4.2, 4.3)."""
        if self.spent:
            return []
        if self._recipients is not None:
            most = min(most, self._recipients)
        chosen: list[int] = []
        for index in indices:
            domain = _domain(recipients[index])
            if self._fits(domain, self._seen) and len(chosen) < most:
                self._seen.add(domain)
                chosen.append(index)
        if chosen and self._mails is not None:
            self._mails -= 1
        return chosen

    def _fits(self, domain: str, seen: set[str]) -> bool:
        return self._domains is None or domain in seen or len(seen) < self._domains


def _domain(recipient: Recipient) -> str:
    return recipient.address.domain.lower()
