"""The instrument itself: what was synced stays, what was not may go, and nothing else changes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.holdsync import PowerCut, build

Run = Callable[[str, int], Path]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("holdsync"))


@pytest.fixture
def run(library: Path, tmp_path: Path) -> Run:
    """Run a script in an empty folder, kill it at its end, cut the power; returns the folder."""

    def start(script: str, seed: int) -> Path:
        folder = tmp_path / f"data{seed}"
        folder.mkdir()
        cut = PowerCut(library, folder, tmp_path / f"log{seed}")
        program = f"import os, signal\n{script}\nos.kill(os.getpid(), signal.SIGKILL)"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=folder, env=cut.environment(), capture_output=True, check=False
        )
        assert done.returncode == -9, done.stderr.decode()
        cut.recover(random.Random(seed))
        return folder

    return start


SYNC_FOLDER = "d = os.open('.', os.O_RDONLY); os.fsync(d)"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "write",
    [
        "f = os.open('a', os.O_WRONLY | os.O_CREAT); os.write(f, b'x' * 9000); os.fsync(f)",
        "f = os.open('a', os.O_RDWR | os.O_CREAT); os.pwrite(f, b'x' * 9000, 0); os.fdatasync(f)",
        "f = os.open('a', os.O_RDWR | os.O_CREAT); os.pwritev(f, [b'x' * 4000, b'x' * 5000], 0); os.fdatasync(f)",
        "f = os.open('a', os.O_RDWR | os.O_CREAT); os.writev(f, [b'x' * 4000, b'x' * 5000]); os.fdatasync(f)",
        "f = os.open('a', os.O_WRONLY | os.O_CREAT | os.O_DSYNC); os.write(f, b'x' * 9000)",
        "f = open('a', 'wb'); f.write(b'x' * 9000); f.flush(); os.fsync(f.fileno())",
        "f = os.open('b', os.O_WRONLY | os.O_CREAT); os.write(f, b'x' * 9000); os.fsync(f); os.rename('b', 'a')",
    ],
)
def test_what_was_synced_stays(run: Run, write: str) -> None:
    for seed in range(4):
        assert contents(run(f"{write}\n{SYNC_FOLDER}", seed)) == {"a": b"x" * 9000}


@pytest.mark.parametrize(
    "write",
    [
        "os.write(f, b'y' * 9000)",
        "os.pwrite(f, b'y' * 9000, 0)",
        "os.pwritev(f, [b'y' * 9000], 0)",
        "os.ftruncate(f, 9)",
    ],
)
def test_an_unsynced_write_goes_sometimes_and_stays_sometimes(run: Run, write: str) -> None:
    before = "f = os.open('a', os.O_RDWR | os.O_CREAT); os.pwrite(f, b'x' * 9000, 0); os.fsync(f)"
    found = {contents(run(f"{before}\n{SYNC_FOLDER}\n{write}", seed))["a"] for seed in range(16)}
    assert b"x" * 9000 in found
    assert (b"y" * 9000 in found) or (b"x" * 9 in found)


def test_blocks_of_one_write_are_lost_apart(run: Run) -> None:
    script = "f = os.open('a', os.O_RDWR | os.O_CREAT); os.pwrite(f, b'x' * 8192, 0); os.fsync(f)\n" + SYNC_FOLDER
    found = {contents(run(script + "\nos.pwrite(f, b'y' * 8192, 0)", seed))["a"] for seed in range(24)}
    assert {b"x" * 4096 + b"y" * 4096, b"y" * 4096 + b"x" * 4096} <= found


def test_a_name_without_a_sync_of_its_folder_goes_sometimes(run: Run) -> None:
    script = "f = os.open('a', os.O_RDWR | os.O_CREAT); os.write(f, b'x'); os.fsync(f)"
    found = [contents(run(script, seed)) for seed in range(12)]
    assert {} in found
    assert {"a": b"x"} in found


def test_an_unsynced_rename_and_removal_are_undone_sometimes(run: Run) -> None:
    script = (
        "for n in 'ab':\n f = os.open(n, os.O_RDWR | os.O_CREAT); os.write(f, n.encode()); os.fsync(f)\n"
        f"{SYNC_FOLDER}\nos.rename('a', 'b'); os.unlink('b')"
    )
    found = [contents(run(script, seed)) for seed in range(30)]
    assert {"a": b"a", "b": b"b"} in found
    assert {"b": b"a"} in found
    assert {} in found


@pytest.mark.parametrize("again", ["", "os.pwrite(f, b'z', 9000)\n", "os.pwrite(f, b'z', 5000)\n"])
def test_what_a_failed_sync_dropped_comes_back_only_with_another_write(
    library: Path, tmp_path: Path, again: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    cut = PowerCut(library, folder, tmp_path / "log", fail_every=2)
    program = (
        "import os, signal\nf = os.open('a', os.O_RDWR | os.O_CREAT)\nos.pwrite(f, b'x' * 12288, 0)\nos.fsync(f)\n"
        "os.pwrite(f, b'y' * 12288, 0)\ntry: os.fsync(f)\nexcept OSError: pass\nelse: raise SystemExit('no error')\n"
        f"{again}os.sync()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=cut.environment(), check=False)
    assert done.returncode == -9
    cut.recover(random.Random(1))
    old = b"x" * 4096
    expected = {
        "": old * 3,
        "os.pwrite(f, b'z', 9000)\n": old * 2 + b"y" * 808 + b"z" + b"y" * 3287,
        "os.pwrite(f, b'z', 5000)\n": old + b"y" * 904 + b"z" + b"y" * 3191 + old,
    }[again]
    assert (folder / "a").read_bytes() == expected
