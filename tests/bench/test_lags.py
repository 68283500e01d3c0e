"""What counts as the time to a notice."""

from __future__ import annotations

import pytest

from tests.bench.lags import notice_p99


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ([(1, 10.5), (2, 20.25)], 0.5),
        ([(2, 20.25)], 10.25),  # one notice for both: the first message was heard of late
        ([(1, 9.75), (2, 20.0)], 0.0),  # before the 250 was read
        ([(1, 10.0)], 60.0),  # the second was never told
    ],
)
def test_the_worst_of_two_deliveries(heard: list[tuple[int, float]], expected: float) -> None:
    assert notice_p99({"ana": [10.0, 20.0]}, {"ana": [heard]}, missing=0, worst=60.0) == expected


def test_of_a_hundred_notices_one_may_be_late_and_what_was_not_delivered_counts() -> None:
    told = {"ana": [float(number) for number in range(101)]}
    heard = [(number + 1, number + (5.0 if number == 50 else 0.1)) for number in range(101)]
    assert notice_p99(told, {"ana": [heard]}, missing=0, worst=60.0) == pytest.approx(0.1)
    assert notice_p99(told, {"ana": [heard]}, missing=2, worst=60.0) == 60.0
