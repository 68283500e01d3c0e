"""One session per maildrop, and none that is stuck."""

from plugins.pop3.lock import Lease, Locks


def test_one_at_a_time() -> None:
    locks = Locks()
    first = take(locks, 0)
    assert first is not None
    assert take(locks, 1) is None
    assert take(locks, 1, account="luis") is not None
    first.release()
    second = take(locks, 2)
    assert second is not None
    first.release()  # once more: the second keeps it
    assert take(locks, 3) is None
    assert len(locks) == 2


def test_a_session_that_waits_for_long_loses_it() -> None:
    locks = Locks()
    closed: list[str] = []
    first = take(locks, 0, closed=closed, name="first")
    assert first is not None
    first.idle_since = 100
    assert take(locks, 159.9) is None
    second = take(locks, 160, closed=closed, name="second")
    assert second is not None
    assert closed == ["first"]
    first.release()
    assert take(locks, 161) is None


def test_a_session_at_work_never_loses_it() -> None:
    locks = Locks()
    assert take(locks, 0) is not None
    assert take(locks, 1_000_000) is None


def take(
    locks: Locks, now: float, *, account: str = "ana", closed: list[str] | None = None, name: str = ""
) -> Lease | None:
    return locks.acquire(
        account, now, takeover_after=60, close=lambda: closed.append(name) if closed is not None else None
    )
