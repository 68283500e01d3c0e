"""The retry schedule: growing pauses, bounded age, and clocks that jump."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.queue.config import QueueConfig
from appliance.queue.schedule import JITTER, LONGEST_PAUSE_S, MAX_AGE_S, WARN_AFTER_S, Schedule, host_pause_s

SCHEDULE = Schedule()
attempts = st.integers(0, 10_000)
clock = st.integers(1, 2**40)


def test_the_usual_pauses() -> None:
    assert [SCHEDULE.pause_s(n) for n in range(8)] == [0, 300, 600, 1200, 2400, 4000, 4000, 4000]


@given(attempts, st.integers(0, 2**33), st.floats(0, 1))
def test_a_retry_lies_ahead_and_near_its_pause(attempts: int, now: int, chance: float) -> None:
    delay = SCHEDULE.next_at(attempts, now, chance) - now
    pause = SCHEDULE.pause_s(attempts)
    assert max(1, pause * (1 - JITTER) - 1) <= delay <= max(1, pause * (1 + JITTER) + 1)


@given(attempts)
def test_pauses_never_shrink(attempts: int) -> None:
    assert SCHEDULE.pause_s(attempts) <= SCHEDULE.pause_s(attempts + 1) <= LONGEST_PAUSE_S


@given(st.integers(0, MAX_AGE_S * 2), attempts, clock, clock)
def test_age_grows_by_at_most_twice_the_pause_however_the_clock_moves(
    waited: int, attempts: int, tried_at: int, now: int
) -> None:
    grown = SCHEDULE.waited_s(waited, attempts, tried_at, now) - waited
    assert 0 <= grown <= 2 * SCHEDULE.pause_s(attempts)
    if 0 <= now - tried_at <= SCHEDULE.pause_s(attempts):
        assert grown == now - tried_at  # a retry by hand counts what it waited, no more


@given(st.lists(st.integers(-(2**31), 2**31), min_size=60, max_size=60))
def test_nothing_expires_before_it_was_tried_often_enough(jumps: list[int]) -> None:
    waited, now, tried_at = 0, 2**32, 0
    for number, jump in enumerate(jumps):
        waited = SCHEDULE.waited_s(waited, number, tried_at, now)
        assert not SCHEDULE.expired(waited) or number > 54
        tried_at, now = now, now + jump


def test_with_a_good_clock_a_message_lives_five_days() -> None:
    waited = number = tried_at = 0
    now = start = 1_000_000
    while not SCHEDULE.expired(waited := SCHEDULE.waited_s(waited, number, tried_at, now)):
        number += 1
        tried_at, now = now, SCHEDULE.next_at(number, now, 0.5)
    assert MAX_AGE_S <= now - start <= MAX_AGE_S + LONGEST_PAUSE_S
    assert number == 111


def test_the_warning_comes_once_and_in_time() -> None:
    assert not SCHEDULE.warns(WARN_AFTER_S - 1, warned=False)
    assert SCHEDULE.warns(WARN_AFTER_S, warned=False)
    assert not SCHEDULE.warns(WARN_AFTER_S, warned=True)
    assert not SCHEDULE.warns(MAX_AGE_S, warned=False)
    assert not Schedule(warn_after_s=0).warns(WARN_AFTER_S, warned=False)


def test_a_destination_is_left_alone_for_longer_and_longer() -> None:
    assert [host_pause_s(n) for n in range(9)] == [0, 60, 120, 240, 480, 960, 1920, 3840, 4000]
    assert host_pause_s(10**6) == LONGEST_PAUSE_S


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"deliveries": 1001}, "deliveries"),
        ({"deliveries_per_destination": 101}, "deliveries_per_destination"),
        ({"first_retry": 5}, "first_retry"),
        ({"longest_retry": 9}, "longest_retry"),
        ({"longest_retry": 200}, "first_retry"),
        ({"max_age_days": 0}, "max_age_days"),
        ({"warn_after_hours": 121}, "warn_after_hours"),
        ({"grace": 60}, "grace"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], name: str) -> None:
    assert name in [problem.setting for problem in QueueConfig(**settings).problems()]  # type: ignore[arg-type]


def test_settings_make_the_schedule() -> None:
    assert QueueConfig().schedule == SCHEDULE
    assert QueueConfig(max_age_days=0.5, warn_after_hours=0).schedule == Schedule(max_age_s=43200, warn_after_s=0)
