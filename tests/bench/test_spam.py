"""The figures of `make bench-spam`, on scores whose figures are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.spam import corpus
from tests.bench.spam.figures import area, interval, missed_at
from tests.bench.spam.fit import LEAST, MOST, Case, fit, refuse_newer


def test_area_is_how_often_spam_scores_higher() -> None:
    assert area([1, 2, 3], [4, 5]) == 1
    assert area([4, 5], [1, 2, 3]) == 0
    assert area([1, 1], [1]) == 0.5
    assert area([0, 2], [1]) == 0.5


def test_missed_is_counted_at_the_allowed_false_positives() -> None:
    ham, spam = [float(number) for number in range(100)], [97.5, 98.5, 99.5, 200.0]
    assert missed_at(0.0)(ham, spam) == 0.5
    assert missed_at(0.01)(ham, spam) == 0.25
    assert missed_at(0.02)(ham, spam) == 0.0


def test_an_interval_holds_its_figure() -> None:
    ham, spam = [float(number % 50) for number in range(300)], [float(number % 50 + 20) for number in range(200)]
    low, high = interval(area, ham, spam)
    assert low < area(ham, spam) < high
    assert high - low < 0.1


def test_halves_are_by_the_date_of_arrival(tmp_path: Path) -> None:
    for name, day, own in (("ham", 3, 1), ("ham", 1, 9), ("spam", 2, 8), ("spam", 4, 2)):
        path = tmp_path / name / f"{day}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"From x  Mon Jan  1 00:00:00 2024\nReceived: by x; Mon, {day} Jan 2024 10:00:00 +0000\n"
            f"X-Spam-Flag: YES\nDate: Mon, {own} Jan 2024 10:00:00 +0000\n\nday {day}\n"
        )
    older, newer = corpus.halves(corpus.read(tmp_path / "ham", tmp_path / "spam"))
    assert [bytes(one.message.text) for one in (*older, *newer)] == [b"day %d\r\n" % day for day in (1, 2, 3, 4)]
    assert [one.spam for one in (*older, *newer)] == [False, True, False, True]
    assert b"X-Spam" not in older[0].for_others()
    assert b"Received" in older[0].for_others()


def test_fitted_scores_follow_the_labels_and_keep_to_their_side() -> None:
    cases = [Case(0.0, ("trick", "any"), True)] * 100 + [Case(5.0, ("any",), False)] * 600
    scores = fit(cases, {"trick": 0.5, "any": 0.5, "polite": -0.5, "unseen": 0.7})
    assert scores["trick"] > 2 > 1 > scores["any"]
    assert scores["unseen"] == pytest.approx(0.7)
    assert all(LEAST <= score <= MOST for score in scores.values())
    assert fit([Case(0.0, ("wrong",), False)] * 200, {"wrong": 0.5})["wrong"] == 0
    assert fit([Case(0.0, ("polite",), True)] * 200, {"polite": -0.5})["polite"] == 0


def test_nothing_is_fitted_on_the_newer_half(tmp_path: Path) -> None:
    for folder, days in (("ham", (1, 3)), ("spam", (2, 4)), ("copy", (4,))):
        (tmp_path / folder).mkdir()
        for day in days:
            more = "X-Spam-Flag: YES\n" if folder == "copy" else ""
            (tmp_path / folder / f"{day}").write_text(f"{more}Date: Mon, {day} Jan 2024 10:00:00 +0000\n\nday {day}\n")
    older, newer = corpus.halves(corpus.read(tmp_path / "ham", tmp_path / "spam"))
    refuse_newer(older, newer)
    with pytest.raises(SystemExit, match="newer half"):
        refuse_newer(corpus.read(tmp_path / "ham", tmp_path / "copy"), newer)
