"""`palomar trace`: what became of a message."""

from __future__ import annotations

import itertools
from typing import Any

import click

from appliance.commands.context import Palomar
from appliance.commands.terminal import clean, json_option, print_json, time_words

MAX_ROWS = 10_000


@click.command()
@click.argument("text")
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=500, show_default=True, help="Rows at most.")
@json_option
@click.pass_obj
def trace(palomar: Palomar, text: str, limit: int, as_json: bool) -> None:
    """Tell what became of a message: who decided what about it, why, and how long it took.

    TEXT is a trace id (the number after "Stored as" in a reply), a Message-ID, or an address.
    """
    rows: list[dict[str, Any]] = palomar.call("trace.find", text=text, limit=limit)
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(
            "Nothing is known about it. The trace keeps the newest rows only (setting store.trace_rows).", err=True
        )
    else:
        _tell(rows)


def _tell(rows: list[dict[str, Any]]) -> None:
    widths = [max(len(row[key]) for row in rows) for key in ("who", "what")]
    for trace_id, steps in itertools.groupby(rows, key=lambda row: row["trace_id"]):
        click.secho(trace_id, bold=True)
        for step in steps:
            who, what = (clean(step[key]).ljust(width) for key, width in zip(("who", "what"), widths, strict=True))
            took = f"  ({step['ms']:.1f} ms)" if step["ms"] else ""
            click.echo(
                f"  {time_words(step['at'])}  {click.style(who, fg='cyan')}  {what}  {clean(step['detail'])}{took}"
            )
