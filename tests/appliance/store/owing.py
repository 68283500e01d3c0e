"""The command that fills a small file system while the log owes more than its reserve; run by test_full_disk.py."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from appliance.errors import StoreFullError
from appliance.store import Store, keeper, messages
from appliance.store.accounts import create_account
from tests.appliance.store.invariants import check_invariants
from tests.appliance.store.samples import PREFIX, accept, box, message, rows

RESERVE = 1 << 20
LARGE = 500_000


async def main(folder: Path, ballast: Path) -> None:
    keeper.TICK_S = keeper.EXTEND_AFTER_S = 3600.0  # whatever happens does so because mail was removed
    store = Store.open(folder, reserve_bytes=RESERVE)
    await store.start()
    ana = await store.write(lambda db: create_account(db, "ana@palomar.test"))
    inbox = box(store, ana)
    for number in range(8):
        await accept(store, message(number, LARGE), ana)
    while store._wal.filled < 3 * RESERVE:
        await asyncio.gather(*(accept(store, message(number, 30_000), ana) for number in range(8, 18)))
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    try:
        await accept(store, message(8, 3000), ana)
        raise AssertionError("the disk is not full")
    except StoreFullError:
        pass
    assert await store.write(lambda db: messages.expunge(db, inbox.id, [*range(1, 9)], deleted_only=False))
    async with asyncio.timeout(60):
        while store.refusing_mail:
            await asyncio.sleep(0.01)
    assert store._space.has_reserve
    await accept(store, message(8, 3000), ana)
    last = rows(store, inbox)[-1:]
    assert [bytes(one) for one in await store.load_many(last)] == [PREFIX + bytes(message(8, 3000))]
    await store.read(check_invariants)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
