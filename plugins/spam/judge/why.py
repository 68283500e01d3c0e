"""The table of findings, read back from the message trace."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from appliance.mail.finding import Finding
from appliance.planning import FILTERS
from appliance.trace import TraceRow
from plugins.spam.judge.protocol_weights import key_of

MAX_WEIGHED = 12  # checks that are named

_FOUND = re.compile(
    r"(?P<score>[+-]\d+\.\d+) (?P<name>\S+) (?P<result>\S+?)(?: for (?P<recipient>\S+))?: (?P<text>.*)", re.DOTALL
)
_EVIDENCE = re.compile(r"(?P<text>.*?) \[(?P<evidence>.*)\]", re.DOTALL)
_JUDGED = re.compile(
    r"(?P<recipient>\S+): (?P<action>\w+) at (?P<score>-?\d+\.\d+)(?:, (?P<text>.*?))?"
    r"(?: \(weighed: (?P<weighed>[A-Z0-9_.,\- ]*)\))?",
    re.DOTALL,
)


def weighed(findings: Sequence[Finding], factors: Sequence[float]) -> str:
    """Which checks counted less, for the trace."""
    known = zip(findings, factors, strict=True) if factors else ()
    less = [f"{key_of(one)} {factor:.2f}" for one, factor in known if one.score and factor < 1]
    return f"weighed: {', '.join(less[:MAX_WEIGHED])}" if less else ""


def read_rows(rows: Iterable[TraceRow]) -> list[dict[str, Any]]:
    """What was found and judged, oldest first: one dict for each line, with `kind` found, judged or message."""
    made: list[dict[str, Any]] = []
    for row in rows:
        one: dict[str, Any] = {"trace_id": row.trace_id, "at": row.at, "recipient": "", "evidence": ""}
        if row.who == FILTERS and row.what == "found" and (found := _FOUND.fullmatch(row.detail)):
            one |= {"kind": "found", **found.groupdict(default=""), "score": float(found["score"])}
            if evidence := _EVIDENCE.fullmatch(one["text"]):
                one |= evidence.groupdict()
        elif row.who == FILTERS and row.what == "judged" and (judged := _JUDGED.fullmatch(row.detail)):
            one |= {"kind": "judged", "name": "", **judged.groupdict(default=""), "score": float(judged["score"])}
            one["result"] = one.pop("action")
        elif row.who == "intake":
            one |= {"kind": "message", "name": "", "result": row.what, "score": 0.0, "text": row.detail}
        else:
            continue
        made.append(one)
    return made
