"""Proof that the same inputs give the same image: build it again in another folder and compare.

    python -m image.build.reproduce slot     the slot image (a minute or two)
    python -m image.build.reproduce whole    the whole card

What comes from Debian and from the index of Python packages is taken from the cache, since it is input; every step of
ours runs again, past the cache.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from image.build.command import BuildError
from image.build.pipeline import FROM_DEBIAN, build, steps
from image.build.progress import Progress
from image.build.work import Work
from image.products.digest import sha256_of

INPUTS = (*FROM_DEBIAN, "wheels")
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two builds of one thing."""

    name: str
    first: str  # SHA-256
    second: str
    differs_at: int | None = None  # the first byte that is not the same

    @property
    def same(self) -> bool:
        return self.differs_at is None

    def __str__(self) -> str:
        if self.same:
            return f"{self.name}: built twice, bit-identical ({self.first})"
        return f"{self.name}: the second build differs from byte {self.differs_at} on ({self.first}, {self.second})"


def first_difference(one: Path, other: Path) -> int | None:
    """The offset of the first byte in which two files differ; None if they are the same."""
    position = 0
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            a, b = left.read(_PIECE), right.read(_PIECE)
            if a != b:
                shorter = min(len(a), len(b))
                return position + next((at for at in range(shorter) if a[at] != b[at]), shorter)
            if not a:
                return None
            position += len(a)


def compare(name: str, one: Path, other: Path) -> Comparison:
    """Compare two files byte by byte."""
    return Comparison(name, sha256_of(one), sha256_of(other), first_difference(one, other))


def rebuild(checkout: Path, first: Work, last: str, folder: Path, note: Callable[[str], None]) -> Work:
    """Run every step of ours up to `last` again, in `folder`. Outputs keep the names that they have in the cache."""
    second = Work(checkout=checkout, note=note)
    for step in steps(checkout):
        kept = first.outputs[step.name]
        if step.name in INPUTS:
            second.outputs[step.name] = kept
        else:
            output = folder / step.name / kept.resolve().name
            output.mkdir(parents=True)
            note(f"again: {step.title}")
            step.run(second, output)
            second.outputs[step.name] = output
        if step.name == last:
            break
    return second


def build_twice(checkout: Path, last: str, note: Callable[[str], None]) -> Comparison:
    """Build up to the step `last` by the cache and once more past it; compare its image. Raises BuildError."""
    first = build(checkout, until=last)
    shelf = checkout / "build"
    folder = Path(tempfile.mkdtemp(prefix="again-", dir=shelf))
    try:
        second = rebuild(checkout, first, last, folder, note)
        (one,), (other,) = (sorted(work[last].glob("*.img")) for work in (first, second))
        return compare(one.name, one, other)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """0 if both builds are the same, 1 if not or if one failed."""
    parser = argparse.ArgumentParser(prog="python -m image.build.reproduce", description="Build twice and compare.")
    parser.add_argument("what", nargs="?", default="slot", choices=["slot", "whole"])
    what = parser.parse_args(arguments).what
    progress = Progress(1)
    try:
        comparison = build_twice(Path(__file__).resolve().parents[2], what, progress.say)
    except BuildError as error:
        progress.say(f"reproduce: {error}")
        return 1
    progress.say(str(comparison))
    return 0 if comparison.same else 1


if __name__ == "__main__":
    sys.exit(main())
