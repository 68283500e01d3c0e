"""How fast filters are: CPU time of one core for messages of OCTETS each, made of the corpus's own texts."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.mail.message import Message
from plugins.spam.attachments.config import AttachmentsConfig
from plugins.spam.attachments.policy import looked
from plugins.spam.bayes.config import BayesConfig
from plugins.spam.bayes.memory import Memory
from plugins.spam.bayes.protocol_classifier import classify
from plugins.spam.bayes.protocol_tokens import tokens_of
from plugins.spam.bayes.schema import BASE
from plugins.spam.heuristics.config import HeuristicsConfig
from plugins.spam.heuristics.heuristics import findings, scores
from tests.bench.spam.corpus import BUILD, Letter
from tests.bench.spam.filters import check_with_spamassassin

OCTETS = 20_000
MEASURED = 400  # messages
BY_SPAMASSASSIN = 60  # of them
LEARNT = 1000  # messages that spam.bayes knows
SAME_KIND = 60  # letters among which texts of the same type are put together


def print_ours(letters: Sequence[Letter], older: Sequence[Letter]) -> float:
    """Measure all local filters that look at what a message says, from octets to findings, and print. Per second."""
    memory = Memory()
    for one in older[-LEARNT:]:
        memory.learn(BASE, tokens_of(one.message), spam=one.spam, day=0, room=BayesConfig().max_tokens)
    raws = _messages(letters)
    (BUILD / "speed").mkdir(parents=True, exist_ok=True)
    for place, raw in enumerate(raws[:BY_SPAMASSASSIN]):
        (BUILD / "speed" / f"{place:03}").write_bytes(raw.replace(b"\r\n", b"\n"))

    def bayes(message: Message) -> None:
        classify(tokens_of(message), memory.base)

    def heuristics(message: Message) -> None:
        findings(message, 0.0, scores(), HeuristicsConfig())

    def attachments(message: Message) -> None:
        looked(message, AttachmentsConfig())

    filters: dict[str, Callable[[Message], None]] = {
        "spam.attachments": attachments, "spam.heuristics": heuristics, "spam.bayes": bayes,
    }  # fmt: skip
    spent = dict.fromkeys(("parsing", *filters), 0.0)
    for raw in raws:
        began = time.process_time()
        message = Message.parse(raw)
        assert message.structure
        message.fields()
        spent["parsing"] += time.process_time() - began
        for name, run in filters.items():
            began = time.process_time()
            run(message)
            spent[name] += time.process_time() - began
    each = ", ".join(f"{name} {seconds / len(raws) * 1e6:.0f} µs" for name, seconds in spent.items())
    rate = len(raws) / sum(spent.values())
    print(f"  {rate:.0f} messages/s of {OCTETS} octets on one core, unsigned, no network (to reach: 400)")
    print(f"  of each message: {each}\n", flush=True)
    return rate


def spamassassin(home: Path) -> float:
    """Messages per second of one core that SpamAssassin checks of the same ones, its start left out."""
    paths = sorted((BUILD / "speed").iterdir())
    few = _children_seconds(lambda: check_with_spamassassin(home, paths[:1]))
    return (len(paths) - 1) / (_children_seconds(lambda: check_with_spamassassin(home, paths)) - few)


def _children_seconds(run: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _messages(letters: Sequence[Letter]) -> list[bytes]:
    """Headers of the corpus, each with texts of its own kind until OCTETS are reached."""
    long = [one.message for one in letters if one.message.structure.type == "text"]
    raws = []
    for place in range(MEASURED):
        first = long[place * len(long) // MEASURED]
        start = place * len(long) // MEASURED
        kind = (first.structure.subtype, first.structure.encoding)
        near = (one for one in long[start : start + SAME_KIND])
        text = b"".join(bytes(one.text) for one in near if (one.structure.subtype, one.structure.encoding) == kind)
        while len(text) < OCTETS:
            text += text or b"text\r\n"
        raws.append((first.header + text)[:OCTETS])
    return raws
