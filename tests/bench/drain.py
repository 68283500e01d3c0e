"""A full queue, much of it for hosts that are dead or slow: how soon the live ones have theirs."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import generators
from tests.bench.bodies import Bodies
from tests.bench.sides import Palomar, PostfixDovecot
from tests.bench.town import Town

generators.require()

import peers  # noqa: E402

PORT = 4610
SIZE = 4096
FILLERS = 50  # messages that are put into our queue side by side
SENDER = "load@sender.test"


@contextlib.contextmanager
def playing(town: Town) -> Iterator[Callable[[], float]]:
    """Have the hosts there. What it gives waits until the live ones have theirs, and returns that time."""
    command = [sys.executable, "-m", "tests.bench.hosts", "--port", str(PORT), "--messages", str(town.living)]
    command += [word for kind, count in town.counts.items() for word in (f"--{kind}", str(count))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=generators.ROOT)
    assert process.stdout is not None
    output = process.stdout
    try:
        if output.readline().strip() != "READY":
            raise SystemExit("the hosts of the drain are not there")
        yield lambda: float(output.readline())
    finally:
        process.kill()
        process.wait()


def ours(folder: Path, town: Town) -> float:
    """Messages for live hosts a second, from our start with a full queue on."""
    side = Palomar(folder, relay_port=PORT, zone={f"{domain}.": ip for domain, ip in town.domains.items()})
    side.prepare()
    asyncio.run(_fill(folder / "palomar.toml", town))
    with playing(town) as drained_at:
        started = time.monotonic()
        try:
            side.start()
            return town.living / (drained_at() - started)
        finally:
            side.stop()


async def _fill(config: Path, town: Town) -> None:
    from appliance.app import load, opened
    from appliance.mail.address import Address
    from appliance.mail.envelope import Recipient
    from appliance.mail.message import Message

    bodies = Bodies(SIZE, seed=time.time_ns())
    async with opened(load(config)) as core:

        async def one(number: int) -> None:
            to = Address.parse(town.recipients[number % len(town.recipients)])
            message = Message.parse(bodies.make(number))
            await core.intake.submit(message, Address.parse(SENDER), [Recipient(to)], origin="bench")

        for start in range(0, town.messages, FILLERS):
            await asyncio.gather(*[one(number) for number in range(start, min(start + FILLERS, town.messages))])


def theirs(folder: Path, town: Town) -> float:
    """The same of Postfix, all of its settings but the ways being its defaults."""
    side = _Postfix(folder, town)
    side.start()
    try:
        generators.run(
            "smtp", "--port", side.smtp, "--sessions", 10, "--size", SIZE, "--messages", town.messages,
            "--rcpt", ",".join(town.recipients),
        )  # fmt: skip
        side.wait_for_quiet()
    finally:
        side.stop()
    side.set_up(defer_transports="")
    with playing(town) as drained_at:
        started = time.monotonic()
        try:
            side.start()
            peers.sh("postqueue", "-c", f"{side.base}/postfix", "-f")
            return town.living / (drained_at() - started)
        finally:
            side.stop()


class _Postfix(PostfixDovecot):
    """Postfix with a way to each destination; at first it keeps everything back."""

    def __init__(self, folder: Path, town: Town) -> None:
        super().__init__(str(folder / "cfg"), str(folder / "data"), "maildir")
        self._town = town

    def write(self) -> None:
        """Its configuration, and the ways."""
        super().write()
        ways = Path(self.base) / "ways"
        ways.write_text("".join(f"{domain} smtp:[{ip}]:{PORT}\n" for domain, ip in self._town.domains.items()))
        self.set_up(transport_maps=f"texthash:{ways}", relayhost="", defer_transports="smtp")

    def wait_for_quiet(self, seconds: float = 120) -> None:
        """Wait until all of it is put off."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            busy: list[Any] = [
                path for name in ("incoming", "active") for path in Path(self.data, "pfqueue", name).rglob("*")
            ]
            if not any(path.is_file() for path in busy):
                return
            time.sleep(0.5)
        raise SystemExit("Postfix does not come to rest")
