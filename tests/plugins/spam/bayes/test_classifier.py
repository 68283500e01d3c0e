"""Counts, what they say of a message, and what is forgotten first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.spam.bayes.memory import Memory
from plugins.spam.bayes.protocol_classifier import STRONGEST, Counts, classify
from plugins.spam.bayes.protocol_tokens import tokens_of
from plugins.spam.bayes.schema import BASE
from tests.plugins.spam.bayes.letters import ham, spam


def learnt(count: int = 10) -> Counts:
    made = Counts()
    for number in range(count):
        made.learn(tokens_of(spam(number)), spam=True, day=20_000)
        made.learn(tokens_of(ham(number)), spam=False, day=20_000)
    return made


def test_spam_is_told_from_wanted_mail() -> None:
    base = learnt()
    assert classify(tokens_of(spam(11)), base).strength > 3
    assert classify(tokens_of(ham(11)), base).strength < -3


def test_nothing_is_said_before_both_kinds_are_known() -> None:
    base = Counts()
    assert classify(tokens_of(spam(1)), base).strength == 0
    base.learn(tokens_of(spam(1)), spam=True, day=1)
    assert classify(tokens_of(spam(1)), base).strength == 0


def test_an_account_that_likes_what_others_do_not_is_heard() -> None:
    own = Counts()
    for number in range(10):
        own.learn(tokens_of(spam(number)), spam=False, day=20_000)
    tokens = tokens_of(spam(11))
    assert classify(tokens, learnt(), own).strength < classify(tokens, learnt()).strength - 3


def test_the_rare_and_old_are_forgotten_first() -> None:
    counts = Counts()
    for day, token, times in [(1, 10, 5), (2, 20, 1), (1, 30, 1), (3, 40, 2)]:
        for _ in range(times):
            counts.learn([token], spam=True, day=day)
    assert counts.forget_rare(3) == [30]
    assert counts.forget_rare(2) == [20]
    assert counts.forget_rare(1) == [40]
    assert counts.forget_rare(1) == []


def test_memory_keeps_its_limit_and_says_what_is_gone() -> None:
    memory = Memory()
    for number in range(100):
        memory.learn(BASE, range(number * 10, number * 10 + 10), spam=True, day=number, room=200)
    assert len(memory.base.tokens) <= 220
    totals, rows, gone = memory.take_changes()
    assert totals == [(BASE, 100, 0)]
    assert {token for _, token, _ in rows} == set(memory.base.tokens)
    assert {token for _, token in gone} == set(range(1000)) - set(memory.base.tokens)
    assert memory.take_changes() == ([], [], [])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 60)), st.booleans()), max_size=12), st.sets(st.integers(0, 60)))
def test_strength_stays_within_its_bounds(learned: list[tuple[set[int], bool]], tokens: set[int]) -> None:
    tokens = {token for token in tokens if token & 7 < 5}
    counts = Counts()
    for known, is_spam in learned:
        counts.learn((token for token in known if token & 7 < 5), spam=is_spam, day=1)
    verdict = classify(tokens, counts)
    assert -STRONGEST <= verdict.strength <= STRONGEST
    assert verdict.known <= len(tokens)
