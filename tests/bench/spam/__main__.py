"""`make bench-spam`: how well filters tell spam from other mail, and how fast ours is."""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from plugins.spam.bayes.protocol_tokens import IGNORED_BEGINNINGS
from plugins.spam.judge.config import JudgeConfig
from tests.bench.spam import corpus, filters, speed
from tests.bench.spam.corpus import BUILD, Letter
from tests.bench.spam.figures import table


def main() -> None:
    """Measure, and print."""
    options = _options()
    ham, spam = (options.ham, options.spam) if options.ham else corpus.fetch(BUILD / "corpus")
    letters = corpus.read(ham, spam)
    older, newer = corpus.halves(letters)
    for name, half in (("older half, learnt", older), ("newer half, scored", newer)):
        first, last = (time.strftime("%Y-%m-%d", time.gmtime(one.at)) for one in (half[0], half[-1]))
        print(f"{name}: {_count(half, spam=False)} ham, {_count(half, spam=True)} spam, {first} to {last}")
    print("fields not looked at:", ", ".join(corpus.ignored()))
    print("  and those that begin with:", ", ".join(sorted(name.decode() for name in IGNORED_BEGINNINGS)), "\n")
    alone, together, without = filters.ours(older, newer)
    _print("palomar: spam.bayes", alone, newer)
    _print("palomar: spam.bayes and spam.heuristics, as spam.judge adds them up", together, newer)
    _print_thresholds(together, newer)
    _print("the same without its rules on Received fields", without, newer)
    ours = speed.print_ours(letters, older)
    _others(options.only_ours, older, newer, ours)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--ham", type=Path, help="a Maildir, an mbox or a folder of messages, instead of the public corpus"
    )
    parser.add_argument("--spam", type=Path, help="the same")
    parser.add_argument("--only-ours", action="store_true", help="leave bogofilter and SpamAssassin out")
    options = parser.parse_args()
    if (options.ham is None) != (options.spam is None):
        parser.error("--ham and --spam belong together")
    return options


def _count(letters: Sequence[Letter], *, spam: bool) -> int:
    return sum(one.spam is spam for one in letters)


def _split(scores: Sequence[float], letters: Sequence[Letter]) -> tuple[list[float], list[float]]:
    """The scores of ham and of spam."""
    pairs = list(zip(scores, letters, strict=True))
    return [score for score, one in pairs if not one.spam], [score for score, one in pairs if one.spam]


def _print(name: str, scores: Sequence[float], letters: Sequence[Letter]) -> None:
    print("\n".join(table(name, *_split(scores, letters))), flush=True)


def _print_thresholds(scores: Sequence[float], letters: Sequence[Letter]) -> None:
    """At the judge's own thresholds, were these the only filters."""
    ham, spam = _split(scores, letters)
    judge = JudgeConfig()
    for name, limit in (("tag_score", judge.tag_score), ("junk_score", judge.junk_score)):
        wrong, missed = sum(score >= limit for score in ham), sum(score < limit for score in spam)
        print(f"  at {name} {limit}: {missed / len(spam):.1%} of spam missed, {wrong} of {len(ham)} ham taken for it")


def _others(left_out: bool, older: Sequence[Letter], newer: Sequence[Letter], ours: float) -> None:
    found = {} if left_out else {"bogofilter": filters.bogofilter, "spamassassin": filters.spamassassin}
    if not any(shutil.which(name) for name in found):
        return
    learnt, scored = _written(older, BUILD / "older"), _written(newer, BUILD / "newer")
    for name, run in found.items():
        if shutil.which(name) is None:
            print(f"{name} is not installed")
            continue
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        scores = run(learnt, scored, [one.spam for one in older], BUILD / name)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        _print(name, scores, newer)
        print(f"  {(len(older) + len(newer)) / spent:.1f} messages/s on one core, learning and scoring", flush=True)
        if name == "spamassassin":
            theirs = speed.spamassassin(BUILD / name)
            print(f"  {theirs:.1f} messages/s of {speed.OCTETS} octets on one core; ours are {ours / theirs:.0f} times")
        print(flush=True)


def _written(letters: Sequence[Letter], folder: Path) -> list[Path]:
    """The messages as files, for the other filters."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = []
    for one in letters:
        path = folder / one.name
        path.write_bytes(one.for_others())
        made.append(path)
    return made


if __name__ == "__main__":
    main()
