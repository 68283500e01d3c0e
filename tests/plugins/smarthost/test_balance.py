"""The order of hosts: by weight, and those that failed last."""

from __future__ import annotations

from collections import Counter
from random import Random

from plugins.smarthost.balance import Resting, in_order
from plugins.smarthost.config import SmartHost

HEAVY, LIGHT, SPARE = (SmartHost(host=f"{name}.test", weight=weight) for name, weight in (("h", 3), ("l", 1), ("s", 1)))


def test_mail_is_shared_by_weight_and_fallbacks_come_behind() -> None:
    random = Random(1)
    orders = [in_order([[HEAVY, LIGHT], [SPARE]], set().__contains__, random) for _ in range(4000)]
    assert {order[2] for order in orders} == {SPARE}
    first = Counter(order[0].label for order in orders)
    assert 2.7 < first["h.test"] / first["l.test"] < 3.3


def test_hosts_that_failed_are_tried_last() -> None:
    order = in_order([[HEAVY, LIGHT], [SPARE]], lambda key: key in {"h.test", "l.test"}, Random(1))
    assert order[0] == SPARE
    assert len(order) == 3


def test_a_rest_grows_with_failures_and_ends_with_an_answer() -> None:
    now = 1000.0
    resting = Resting(lambda: now)
    assert not resting.rests("a")
    resting.failed("a")
    resting.failed("a")  # side by side with the first
    assert resting.rests("a")
    now += 60
    assert not resting.rests("a")
    resting.failed("a")
    now += 60
    assert resting.rests("a")
    resting.answered("a")
    assert not resting.rests("a")
