"""What an account has chosen, and how CAPA tells of it (RFC 2449 sections 6.5 and 6.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from plugins.pop3.config import NEVER, Pop3Config


@dataclass(frozen=True, slots=True)
class Policy:
    """`expire` in days, or NEVER; `login_delay` in seconds, 0 for none."""

    junk: bool
    expire: int
    login_delay: int


def policy_of(config: Pop3Config, account: str) -> Policy:
    """What holds for one account."""
    own = config.accounts.get(account)
    if own is None:
        return Policy(config.junk, config.expire, config.login_delay)
    return Policy(
        config.junk if own.junk is None else own.junk,
        config.expire if own.expire is None else own.expire,
        config.login_delay if own.login_delay is None else own.login_delay,
    )


def capabilities(config: Pop3Config, policy: Policy | None) -> Iterator[str]:
    """The lines of CAPA. Before the login (no policy) they tell the worst that anybody has, and that it differs."""
    expires, delays = {config.expire}, {config.login_delay}
    if policy is not None:
        expires, delays = {policy.expire}, {policy.login_delay}
    else:
        for account in config.accounts:
            own = policy_of(config, account)
            expires.add(own.expire)
            delays.add(own.login_delay)
    days = [days for days in expires if days != NEVER]
    yield f"EXPIRE {min(days) if days else 'NEVER'}{_differs(expires)}"
    if delays != {0}:
        yield f"LOGIN-DELAY {max(delays)}{_differs(delays)}"


def _differs(values: set[int]) -> str:
    return " USER" if len(values) > 1 else ""


class Delays:
    """When each account logged in last, in monotonic time. Kept in memory: a restart forgives."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def left(self, account: str, delay: int, now: float) -> float:
        """Seconds until the account may log in again; 0 or less when it may now."""
        last = self._last.get(account)
        return 0.0 if last is None else last + delay - now

    def note(self, account: str, now: float) -> None:
        """The account has logged in."""
        self._last[account] = now
