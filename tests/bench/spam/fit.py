"""Fit the scores of spam.heuristics: `python -m tests.bench.spam.fit` writes plugins/spam/heuristics/scores.toml.

Only the older half is looked at; paths that hold messages of the newer half of the public corpus are refused. The older
half is cut into blocks by date. Each block is scored by spam.bayes as learnt from the blocks before it, so that the
rules are weighed beside a filter that has not seen the mail. Then the scores are those that make the labels likeliest:

    logit P(spam) = score of spam.bayes + sum of the rules' scores - junk_score

Every message counts twice: once so, and once as if spam.bayes had learnt nothing yet. A rule's stated weight is what
is believed of it before (a normal distribution of DEVIATION around it), so rules that the corpus hardly knows keep it.
A rule against a message never speaks for it, nor the other way round; none weighs more than MOST.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Sequence
from math import exp
from pathlib import Path
from typing import NamedTuple

from appliance.mail.message import Message
from plugins.spam.bayes.bayes import weight
from plugins.spam.bayes.config import BayesConfig
from plugins.spam.bayes.memory import Memory
from plugins.spam.bayes.protocol_classifier import classify
from plugins.spam.bayes.protocol_tokens import tokens_of
from plugins.spam.bayes.schema import BASE
from plugins.spam.heuristics.heuristics import SCORES
from plugins.spam.heuristics.protocol_facts import facts_of
from plugins.spam.heuristics.protocol_rules import RULES, hits
from plugins.spam.judge.config import JudgeConfig
from tests.bench.spam import corpus
from tests.bench.spam.corpus import BUILD, Letter

BLOCKS = 16  # of the older half; the first FIRST are learnt only
FIRST = 4
DEVIATION = 0.7
MOST, LEAST = 2.5, -1.0
ROUNDS = 150
HEADER = "# Written by `python -m tests.bench.spam.fit`; do not edit. Other rules keep the weight that they state.\n"


class Case(NamedTuple):
    """One message: what spam.bayes gives it, the rules that fit, and its label."""

    base: float
    rules: tuple[str, ...]
    spam: bool


def main() -> None:
    """Fit, and write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--ham", type=Path, help="other labelled mail, of which all is looked at")
    parser.add_argument("--spam", type=Path, help="the same")
    options = parser.parse_args()
    public = corpus.read(*corpus.fetch(BUILD / "corpus"))
    older, newer = corpus.halves(public)
    if options.ham and options.spam:
        older = corpus.read(options.ham, options.spam)
        refuse_newer(older, newer)
    cases = cases_of(older)
    fitted = fit(cases, {rule.name: rule.weight for rule in RULES})
    counted = {name: sum(name in case.rules for case in cases) for name in fitted}
    SCORES.write_text(HEADER + "".join(f"{name} = {fitted[name]:.2f}\n" for name in fitted if counted[name]))
    print(
        f"{len(cases)} messages of the older half; {sum(map(bool, counted.values()))} of {len(fitted)} rules fitted any"
    )


def refuse_newer(letters: Iterable[Letter], newer: Iterable[Letter]) -> None:
    """End if mail to fit on is of the newer half, whatever folder it stands in."""
    forbidden = {digest(one.message) for one in newer}
    for one in letters:
        if digest(one.message) in forbidden:
            sys.exit(f"{one.name} is of the newer half, which is for scoring alone. Fit on other mail.")


def digest(message: Message) -> bytes:
    """What tells a message from others, whoever has added fields to it."""
    text = b"".join(bytes(message.text).split())
    return hashlib.sha256((message.get(b"message-id") or b"") + b"\n" + text).digest()


def cases_of(letters: Sequence[Letter]) -> list[Case]:
    """The messages behind the first blocks, each scored by what was learnt of the blocks before its own."""
    memory, config, made = Memory(), BayesConfig(), list[Case]()
    for block in range(BLOCKS):
        part = letters[len(letters) * block // BLOCKS : len(letters) * (block + 1) // BLOCKS]
        tokens = [tokens_of(one.message) for one in part]
        if block >= FIRST:
            for one, found in zip(part, tokens, strict=True):
                rules = tuple(rule.name for rule, _ in hits(facts_of(one.message, one.at)))
                made.append(Case(weight(classify(found, memory.base).strength, config), rules, one.spam))
        for one, found in zip(part, tokens, strict=True):
            memory.learn(BASE, found, spam=one.spam, day=0, room=config.max_tokens)
    return made


def fit(cases: Sequence[Case], stated: dict[str, float]) -> dict[str, float]:
    """The likeliest scores, by damped Newton steps, rule by rule."""
    samples = [*cases, *(Case(0.0, case.rules, case.spam) for case in cases)]
    limit, scores = JudgeConfig().junk_score, dict(stated)
    for _ in range(ROUNDS):
        slope, bend = dict.fromkeys(scores, 0.0), dict.fromkeys(scores, 0.0)
        for base, rules, spam in samples:
            logit = base - limit + sum(scores[name] for name in rules)
            likely = 1 / (1 + exp(-max(-30.0, min(30.0, logit))))
            for name in rules:
                slope[name] += spam - likely
                bend[name] += likely * (1 - likely)
        for name, value in scores.items():
            pull = slope[name] - (value - stated[name]) / DEVIATION**2
            moved = value + 0.7 * pull / (3 * bend[name] + 1 / DEVIATION**2)
            scores[name] = min(MOST, max(0.0, moved)) if stated[name] > 0 else max(LEAST, min(0.0, moved))
    return scores


if __name__ == "__main__":
    main()
