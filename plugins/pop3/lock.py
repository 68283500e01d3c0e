"""Who has a maildrop: one session per account at a time (RFC 1939 section 4), kept in memory and so never left over."""

from __future__ import annotations

from collections.abc import Callable

from plugins.pop3.policy import Delays


class Lease:
    """One session's hold on a maildrop. `idle_since` is when it began to wait for a command, None while it works."""

    __slots__ = ("_close", "_locks", "account", "idle_since")

    def __init__(self, locks: Locks, account: str, close: Callable[[], None]) -> None:
        self.account = account
        self.idle_since: float | None = None
        self._locks = locks
        self._close = close

    def release(self) -> None:
        """Give the maildrop up. Safe to call twice, and after it was taken over."""
        self._locks.forget(self)

    def revoke(self) -> None:
        """Drop the connection that holds it."""
        self._close()


class Locks:
    """The maildrops in use, and when each was opened last."""

    def __init__(self) -> None:
        self.delays = Delays()
        self._held: dict[str, Lease] = {}

    def acquire(self, account: str, now: float, *, takeover_after: float, close: Callable[[], None]) -> Lease | None:
        """Take a maildrop, or None while another session has it.

        A session that has waited for a command for `takeover_after` seconds loses it: its connection is dropped,
        which deletes nothing. `close` drops the new one, should that ever be needed. `now` is a monotonic time.
        """
        held = self._held.get(account)
        if held is not None:
            if held.idle_since is None or now - held.idle_since < takeover_after:
                return None
            held.revoke()
        lease = self._held[account] = Lease(self, account, close)
        return lease

    def forget(self, lease: Lease) -> None:
        """Take out a lease, if it still holds."""
        if self._held.get(lease.account) is lease:
            del self._held[lease.account]

    def held(self, account: str) -> bool:
        """Whether a session has that maildrop."""
        return account in self._held

    def __len__(self) -> int:
        return len(self._held)
