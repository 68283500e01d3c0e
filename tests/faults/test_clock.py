"""The wall clock of the running appliance is set, a day back and a year ahead: its queue gives nothing up for that."""

from __future__ import annotations

import re
import smtplib
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.controlclient import SocketControl
from appliance.queue.schedule import LONGEST_PAUSE_S
from tests.crash.holdsync import compiled
from tests.e2e.appliance_process import ACCOUNTS, PASSWORD, wait_for
from tests.faults.nexthop import NextHop, Taken
from tests.faults.target import Target

ANA, _ = ACCOUNTS
DAY_S = 86_400
MESSAGES = 12


class Scene:
    """The appliance, its clock, and a next hop that takes nothing yet."""

    def __init__(self, target: Target, clock: Path) -> None:
        self.target = target
        self._clock = clock
        self.asked: Counter[str] = Counter()  # how often it was asked to take mail for whom
        self.taking = False

    def answer(self, taken: Taken) -> str:
        (recipient,) = re.findall(r"<(\S+)>", " ".join(taken.recipients))
        self.asked[recipient] += 1
        return "250 2.0.0 Ok" if self.taking else "451 4.3.0 Not now"

    def set_clock(self, shift_s: int) -> None:
        """Set it so many seconds from the machine's."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("=q", shift_s))

    def send(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.target.ports["submission"], timeout=60) as smtp:
            smtp.login(ANA, PASSWORD)
            for number in range(MESSAGES):
                smtp.sendmail(ANA, [f"friend{number}@outside.test"], f"Subject: {number}\r\n\r\ntext\r\n")

    def look(self) -> None:
        """Have the queue look at what it has, as it does each minute, by a command that changes nothing."""
        with closing(wait_for(lambda: SocketControl.connect(self.target.folder / "data"), "its control")) as control:
            control.call("queue.hold", where={"recipient": "nobody@outside.test"})

    def is_asked_again(self) -> None:
        """Wait until all that waits was tried once more."""
        before = self.asked.copy()

        def tried() -> bool:
            self.look()
            return all(self.asked[one] > before[one] for one in before)

        wait_for(tried, "another attempt for each")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    clock = tmp_path / "clock"
    clock.write_bytes(bytes(8))
    library = compiled(Path(__file__).with_name("wallclock.c"), tmp_path)
    with NextHop() as hop:
        target = Target(
            tmp_path / "office",
            zone="outside MX 10 mx.outside\nmx.outside A 127.0.0.1\n",
            tables={"relay": f"port = {hop.port}\ntls = 'off'\n"},
            environment={"LD_PRELOAD": str(library), "WALLCLOCK_FILE": str(clock)},
        )
        target.add_accounts(*ACCOUNTS)
        made = Scene(target, clock)
        hop.answer = made.answer
        with target:
            yield made
        assert "Traceback" not in target.log.read_text()


def test_a_clock_that_jumps_bounces_nothing_and_keeps_nothing_waiting(scene: Scene) -> None:
    queued = lambda: scene.target.queued  # noqa: E731 - short for what is asked all the time
    scene.send()
    wait_for(lambda: len(scene.asked) == MESSAGES, "the first attempts")
    wait_for(lambda: all(entry["attempts"] for entry in queued()), "what came of them")

    scene.set_clock(-DAY_S)
    scene.is_asked_again()  # though all were put off to a time that is a day away now
    latest = time.time() - DAY_S + 2 * LONGEST_PAUSE_S
    wait_for(lambda: all(entry["next_at"] < latest for entry in queued()), "times of the new clock")

    scene.set_clock(365 * DAY_S)
    scene.is_asked_again()
    wait_for(lambda: all(entry["attempts"] >= 3 for entry in queued()), "what came of it")
    assert len(queued()) == MESSAGES
    assert max(entry["waited_s"] for entry in queued()) < 3600  # of the year that the clock says, next to nothing

    scene.set_clock(0)
    scene.taking = True
    scene.is_asked_again()
    wait_for(lambda: queued() == [], "the queue empties")
    (inbox,) = [one for one in scene.target.ask("mailbox", "list", ANA) if one["name"] == "INBOX"]
    assert inbox["messages"] == 0  # neither a bounce nor a warning
