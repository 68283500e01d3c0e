"""The run over the steps, on steps that write a word."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from image.build.cache import Step, content_fingerprint
from image.build.command import BuildError, CommandError, run
from image.build.pipeline import build, steps
from image.build.progress import Progress
from image.build.work import Work

CHECKOUT = Path(__file__).parents[3]


def write(work: Work, output: Path) -> None:
    (output / "word").write_text("base")


def extend(work: Work, output: Path) -> None:
    (output / "word").write_text((work["base"] / "word").read_text() + "+")


def fail(work: Work, output: Path) -> None:
    raise BuildError("no room", remedy="make some")


def chain() -> list[Step[Work]]:
    return [
        Step(name="base", title="Base", run=write, inputs=("list",), fingerprint=content_fingerprint("word")),
        Step(name="end", title="End", run=extend, after=("base",)),
    ]


def told(checkout: Path, *, fresh: bool = False) -> list[str]:
    """How each step went."""
    stream = io.StringIO()
    build(checkout, chain=chain(), fresh=fresh, progress=Progress(2, stream=stream, clock=lambda: 0.0))
    return [line.split()[-1] for line in stream.getvalue().splitlines()]


def test_the_second_run_keeps_all(tmp_path: Path) -> None:
    assert told(tmp_path) == ["made", "made"]
    assert told(tmp_path) == ["kept", "kept"]


def test_a_change_without_effect_ends_where_it_has_none(tmp_path: Path) -> None:
    told(tmp_path)
    (tmp_path / "list").write_text("# a comment")
    assert told(tmp_path) == ["made", "kept"]


def test_fresh_asks_debian_again_and_goes_on_only_with_news(tmp_path: Path) -> None:
    told(tmp_path)
    assert told(tmp_path, fresh=True) == ["made", "kept"]


def test_a_failure_names_the_step_and_the_remedy(tmp_path: Path) -> None:
    failing = [Step(name="base", title="Base", run=fail)]
    with pytest.raises(BuildError, match=r"step base \(Base\): no room") as error:
        build(tmp_path, chain=failing, progress=Progress(1, stream=io.StringIO()))
    assert error.value.remedy == "make some"


def test_our_steps_come_after_what_they_need() -> None:
    seen: set[str] = set()
    for step in steps(CHECKOUT):
        assert set(step.after) <= seen, step.name
        seen.add(step.name)


def test_every_input_of_our_steps_exists() -> None:
    missing = [name for step in steps(CHECKOUT) for name in step.inputs if not (CHECKOUT / name).exists()]
    assert missing == []


def test_a_command_that_fails_tells_its_last_lines() -> None:
    with pytest.raises(CommandError, match=r"(?s)status 3: .*\| line 30$") as error:
        run(["sh", "-c", "seq -f 'line %g' 30; exit 3"])
    assert "line 16\n" in str(error.value)
    assert "line 15\n" not in str(error.value)


def test_a_missing_program_has_a_remedy() -> None:
    with pytest.raises(BuildError, match="no program") as error:
        run(["palomar-no-such-program"])
    assert "tools/setup image" in error.value.remedy
