"""A queue of 200,000 recipients: what it adds to the start and to the memory, and how soon `palomar queue` answers."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import generators
from tests.bench.bodies import Bodies
from tests.bench.sides import Palomar

generators.require()

import common  # noqa: E402

MESSAGES, RECIPIENTS = 20_000, 10  # of each message
DOMAINS = 1000
SIZE = 4096
FILLERS = 50
PORT = 4  # where nobody answers
REST_S = 20.0  # after a start, until memory is looked at: the first of what is due was tried
COMMANDS = (["queue", "list"], ["queue", "summary"], ["queue", "list", "d7.full.test"], ["status"])


def measure(folder: Path) -> dict[str, float]:
    """Seconds of a start and MB at rest beyond those with an empty queue, and seconds of the slowest command."""
    domains = {f"d{number}.full.test.": "127.0.0.1" for number in range(DOMAINS)}
    side = Palomar(folder, relay_port=PORT, zone=domains)
    side.prepare()
    empty_s, empty_mb, _ = _life(side)
    asyncio.run(_fill(folder / "palomar.toml"))
    full_s, full_mb, answer_s = _life(side, ask=True)
    return {"start": full_s - empty_s, "memory": full_mb - empty_mb, "answer": answer_s}


def _life(side: Palomar, *, ask: bool = False) -> tuple[float, float, float]:
    started = time.monotonic()
    side.start()
    try:
        taken = time.monotonic() - started
        answer = max((_asked(side, command) for command in COMMANDS), default=0.0) if ask else 0.0
        time.sleep(max(0.0, started + REST_S - time.monotonic()))
        return taken, common.tree_pss(side.roots())[0] * 1024 / 1e6, answer
    finally:
        side.stop()


def _asked(side: Palomar, words: list[str]) -> float:
    command = [sys.executable, "-m", "appliance", "--config", str(side.folder / "palomar.toml"), *words]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=generators.ROOT)
    taken = time.monotonic() - started
    print(f"  palomar {' '.join(words)}: {taken:.2f} s")
    return taken


async def _fill(config: Path) -> None:
    """Put the queue there as it is after a day: nearly all was tried and put off, a tenth is due."""
    from appliance.app import load, opened
    from appliance.mail.address import Address
    from appliance.mail.delivery import Route
    from appliance.mail.envelope import Envelope, Recipient
    from appliance.mail.message import Message
    from appliance.store import QueueWish

    bodies, chance, now = Bodies(SIZE, seed=1), random.Random(1), int(time.time())
    async with opened(load(config)) as core:

        async def one(number: int) -> None:
            names = chance.sample(range(DOMAINS), RECIPIENTS)
            to = [Recipient(Address(f"someone{number}", f"d{name}.full.test")) for name in names]
            wishes = [QueueWish(one, Route("relay", one.address.domain)) for one in to]
            envelope = Envelope(Address("load", "sender.test"), to)
            message = Message.parse(bodies.make(number))
            await core.store.accept(message, [], wishes, envelope, trace_id=f"full{number}")

        for start in range(0, MESSAGES, FILLERS):
            await asyncio.gather(*[one(number) for number in range(start, start + FILLERS)])
        await core.store.write(
            lambda db: db.execute(
                "UPDATE queue_entry SET attempts = 4, waited_s = 9000, tried_at = ?1 - 600, last_reply = '451 4.4.1"
                " cannot connect: no answer within 30 s', next_at = ?1 + (id * 7919 % 4000) - 400",
                (now,),
            )
        )
