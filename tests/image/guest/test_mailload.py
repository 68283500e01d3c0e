"""The judge of the power cuts: does it see a loss, a double, an invention, and damage?"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.image.guest.mailload import Promises, _checked, text_of


def test_what_is_lost_and_what_is_doubled() -> None:
    promises = Promises()
    for number in (promises.take(), promises.take(), promises.take()):
        promises.keep(number)
    unsure = promises.take()
    assert promises.lost(Counter({1: 1, 3: 2})) == [2]
    assert promises.doubled(Counter({1: 1, 3: 2})) == [3]
    assert promises.invented(Counter({1: 1, unsure: 1, 77: 1})) == [77]


def test_a_refused_message_must_not_turn_up() -> None:
    promises = Promises()
    number = promises.take()
    promises.refused(number)
    assert promises.lost(Counter()) == []
    assert promises.invented(Counter({number: 1})) == [number]


def test_damage_is_seen() -> None:
    sent = b"Return-Path: <load@example.net>\r\n" + text_of(7)
    assert _checked(sent) == 7
    with pytest.raises(AssertionError, match="damaged"):
        _checked(sent[:-3] + b"\0\r\n")
