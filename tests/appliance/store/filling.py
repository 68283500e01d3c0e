"""The command that fills a small file system of its own with mail; run by test_full_disk.py in a mount namespace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from appliance.errors import StoreFullError
from appliance.store import Account, MessageRow, Store, messages
from appliance.store.accounts import create_account
from tests.appliance.store.invariants import check_invariants
from tests.appliance.store.samples import PREFIX, accept, box, message, rows, uids

SIZES = (3000, 3000, 100_000, 600_000)


async def fill(store: Store, ana: Account, first: int) -> int:
    """Take mail until it is refused; returns how much was taken."""
    for number in range(first, first + 10_000):
        try:
            await accept(store, message(number, SIZES[number % len(SIZES)]), ana)
        except StoreFullError:
            return number - first
    raise AssertionError("the disk is never full")


async def compare(store: Store, ana: Account, numbers: list[int]) -> None:
    """Everything that was taken is there."""
    found: list[MessageRow] = rows(store, box(store, ana))
    for row, number in zip(found, numbers, strict=True):
        [stored] = await store.load_many([row])
        assert bytes(stored) == PREFIX + bytes(message(number, SIZES[number % len(SIZES)]))
    await store.read(check_invariants)


async def main(folder: Path, ballast: Path) -> None:
    store = Store.open(folder, reserve_bytes=4 << 20)
    await store.start()
    ana = await store.write(lambda db: create_account(db, "ana@palomar.test"))
    inbox = box(store, ana)
    numbers = list(range(await fill(store, ana, 0)))
    assert len(numbers) > 10
    await compare(store, ana, numbers)
    # Somebody else takes even the margin: now only the reserve is left, and removals must still work.
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    assert await fill(store, ana, 0) == 0
    await store.write(lambda db: messages.set_flags(db, inbox.id, None, add=8))
    await store.write(lambda db: messages.expunge(db, inbox.id, uids(store, inbox)[5:]))
    await compare(store, ana, numbers[:5])
    async with asyncio.timeout(60):
        while store.refusing_mail:  # goes on by itself, with what was removed
            await asyncio.sleep(0.01)
    more = await fill(store, ana, 5)
    assert more > 0
    ballast.unlink()
    more += await fill(store, ana, 5 + more)  # and with what others removed
    assert more > 10
    await compare(store, ana, numbers[:5] + list(range(5, 5 + more)))
    await store.close()
    again = Store.open(folder, reserve_bytes=4 << 20)
    await again.start()
    await compare(again, ana, numbers[:5] + list(range(5, 5 + more)))
    await again.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
