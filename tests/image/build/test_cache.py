"""Keys, what is kept, what is made anew."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from image.build.cache import KEPT_PER_STEP, Cache, Step, content_fingerprint, files_digest


@dataclass
class Bench:
    """Stands in for the build's work: notes which steps ran."""

    ran: list[str] = field(default_factory=list)


def write(work: Bench, output: Path) -> None:
    work.ran.append(output.name)
    (output / "out").write_text("same")


def fail(work: Bench, output: Path) -> None:
    (output / "out").write_text("half")
    raise RuntimeError("no")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_text("1")
    return tmp_path


def step(**changes: object) -> Step[Bench]:
    return replace(Step(name="one", title="One", run=write, inputs=("src",)), **changes)  # type: ignore[arg-type]


def test_the_same_inputs_have_the_same_key(checkout: Path) -> None:
    cache = Cache(checkout / "build", checkout)
    assert cache.key(step(), {}) == cache.key(step(), {})


def test_every_kind_of_input_changes_the_key(checkout: Path) -> None:
    cache = Cache(checkout / "build", checkout)
    keys = {
        cache.key(step(), {}),
        cache.key(step(name="two"), {}),
        cache.key(step(settings={"level": "9"}), {}),
        cache.key(step(after=("base",)), {"base": "x"}),
        cache.key(step(after=("base",)), {"base": "y"}),
        cache.key(step(own_source=False), {}),
        cache.key(step(inputs=()), {}),
    }
    (checkout / "src/a").write_text("2")
    keys.add(cache.key(step(), {}))
    (checkout / "src/a").chmod(0o755)
    keys.add(cache.key(step(), {}))
    (checkout / "src/a").rename(checkout / "src/b")
    keys.add(cache.key(step(), {}))
    assert len(keys) == 10


def test_byte_code_and_times_are_no_input(checkout: Path) -> None:
    before = files_digest(checkout / "src")
    (checkout / "src/__pycache__").mkdir()
    (checkout / "src/__pycache__/a.pyc").write_text("")
    os.utime(checkout / "src/a", (0, 0))
    assert files_digest(checkout / "src") == before


def test_a_missing_input_is_an_empty_one_until_it_is_there(checkout: Path) -> None:
    cache = Cache(checkout / "build", checkout)
    missing = step(inputs=("later",))
    before = cache.key(missing, {})
    (checkout / "later").write_text("")
    assert cache.key(missing, {}) != before


def test_an_output_is_kept_and_found(checkout: Path) -> None:
    cache, work = Cache(checkout / "build", checkout), Bench()
    key = cache.key(step(), {})
    assert cache.find("one", key) is None
    place, fingerprint = cache.make(step(), key, work)
    assert cache.find("one", key) == (place, fingerprint)
    assert fingerprint == key
    assert (checkout / "build/latest/one/out").read_text() == "same"


def test_a_step_known_by_its_content_ends_a_rebuild_there(checkout: Path) -> None:
    cache, work = Cache(checkout / "build", checkout), Bench()
    by_content = step(fingerprint=content_fingerprint("out"))
    _, first = cache.make(by_content, cache.key(by_content, {}), work)
    (checkout / "src/a").write_text("a comment")
    _, second = cache.make(by_content, cache.key(by_content, {}), work)
    assert len(work.ran) == 2
    assert first == second


def test_what_failed_is_not_kept(checkout: Path) -> None:
    cache = Cache(checkout / "build", checkout)
    failing = step(run=fail)
    key = cache.key(failing, {})
    with pytest.raises(RuntimeError):
        cache.make(failing, key, Bench())
    assert cache.find("one", key) is None


def test_old_outputs_are_swept(checkout: Path) -> None:
    cache, work = Cache(checkout / "build", checkout), Bench()
    for number in range(5):
        cache.make(step(), f"key{number}", work)
    assert len(list((checkout / "build/one").iterdir())) == KEPT_PER_STEP
    assert cache.find("one", "key4") is not None


def test_two_builds_do_not_run_at_once(checkout: Path) -> None:
    told: list[str] = []
    first, second = Cache(checkout / "build", checkout), Cache(checkout / "build", checkout)
    with first.alone(lambda: told.append("first")):
        second_waits = threading.Event()
        done = threading.Event()

        def build() -> None:
            with second.alone(second_waits.set):
                done.set()

        thread = threading.Thread(target=build)
        thread.start()
        assert second_waits.wait(5)
        assert not done.is_set()
    thread.join(5)
    assert done.is_set()
    assert told == []
