"""Power cuts at random moments: what the store has promised is there, exactly, once."""

from __future__ import annotations

import os
import random
import selectors
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.errors import StoreError
from tests.crash.holdsync import PowerCut, build
from tests.crash.ledger import Ledger

ROUNDS = 5
MOST_ROUNDS = 40  # of those that go on until chance has brought what they are about
TREE = Path(__file__).parents[2]
DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("holdsync"))


def run_and_kill(command: list[str], environment: dict[str, str], lines: int) -> list[str]:
    """Start a command, let it say so many lines, kill it, and return all that it said."""
    process = subprocess.Popen(command, cwd=TREE, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + DEADLINE_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while said.count(b"\n") < lines and process.poll() is None and time.monotonic() < deadline:
            if selector.select(1.0):
                said += os.read(process.stdout.fileno(), 65536)
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, "the command ended by itself"
    assert said.count(b"\n") >= lines, "the command stood still"
    return said.decode().splitlines()  # a line is one write: none is cut


def cut_power(
    library: Path, folder: Path, ledger: Ledger, seed: int, *, without: str = "", fail_every: int = 0
) -> PowerCut:
    """One round: store mail, kill, lose what was not synced. The ledger has heard what was promised."""
    chance = random.Random(seed)
    folder.mkdir(exist_ok=True)
    cut = PowerCut(library, folder, folder.with_name(f"log{seed}"), sync_us=chance.choice((300, 1000, 5000)))
    cut.fail_every = fail_every
    command = [sys.executable, "-m", "tests.crash.storing", str(folder), str(seed * 100_000), str(seed)]
    command += ["--without", without] if without else []
    for line in run_and_kill(command, cut.environment(), chance.randint(2, 600)):
        ledger.hear(line)
    cut.recover(chance)
    return cut


async def test_no_promise_is_broken_by_power_cuts(library: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    lost = 0
    for seed in range(1, MOST_ROUNDS + 1):
        lost += cut_power(library, tmp_path / "data", ledger, seed).loss.writes
        await ledger.settle(tmp_path / "data")
        if seed >= ROUNDS and lost:
            break
    assert ledger.promises > 100
    assert lost > 0, "nothing was ever lost: the test proves nothing"


async def test_no_promise_is_broken_when_syncs_fail_before_the_power_goes(library: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    for seed in range(1, MOST_ROUNDS + 1):
        cut_power(library, tmp_path / "data", ledger, seed, fail_every=40 + seed)  # after the migrations
        await ledger.settle(tmp_path / "data")
        if seed >= ROUNDS and ledger.failures:
            break
    assert ledger.failures > 0
    assert ledger.promises > 100


@pytest.mark.slow
async def test_no_promise_is_broken_by_a_hundred_power_cuts(library: Path, tmp_path: Path) -> None:
    for start in range(1000, 2000, 100):  # ten folders, ten cuts each
        ledger = Ledger()
        for seed in range(start, start + 10):
            cut_power(library, tmp_path / f"data{start}", ledger, seed)
            await ledger.settle(tmp_path / f"data{start}")


@pytest.mark.parametrize("sync", ["commit", "segment", "folder"])
async def test_a_store_with_one_sync_less_is_caught(library: Path, tmp_path: Path, sync: str) -> None:
    for seed in range(1, MOST_ROUNDS + 1):
        ledger = Ledger()
        cut_power(library, tmp_path / f"data{seed}", ledger, seed, without=sync)
        try:
            await ledger.settle(tmp_path / f"data{seed}")
        except (AssertionError, StoreError, sqlite3.Error) as error:  # a broken promise, a damaged record, a lost file
            print(f"round {seed}: {error}")
            return
    pytest.fail(f"the store was cut off {MOST_ROUNDS} times without its {sync} sync, and nothing was missing")
