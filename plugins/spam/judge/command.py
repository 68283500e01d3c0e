"""`palomar spam`: why a message was judged as it was."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import click

from appliance.commands.terminal import Column, done, json_option, print_json, show

FINDINGS = (
    Column("score", "Score", lambda score: f"{score:+.2f}", right=True),
    Column("name", "Check"),
    Column("result", "Result"),
    Column("text", "What it means"),
    Column("evidence", "Seen"),
)

WEIGHTS = (
    Column("check", "Check"),
    Column("factor", "Factor", lambda factor: f"{factor:.2f}", right=True),
    Column("right", "Right", right=True),
    Column("wrong", "Wrong", right=True),
)


@click.group()
def spam() -> None:
    """Show how mail was judged."""


@spam.command("why")
@click.argument("text")
@json_option
@click.pass_obj
def why(palomar: Any, text: str, as_json: bool) -> None:
    """Show what the filters found in a message, and what was concluded for each recipient.

    TEXT is its trace id (the SMTP reply and Received say it), or words of its trace: a sender, a Message-ID.
    """
    rows = palomar.call("spam.why", text=text)
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("Nothing was judged that fits; the trace keeps the last messages only.", err=True)
    for trace_id, group in groupby(rows, key=lambda row: row["trace_id"]):
        lines = list(group)
        click.secho(trace_id, bold=True)
        for row in lines:
            if row["kind"] == "message":
                click.echo(f"  {row['result']}: {row['text']}")
        found = [row for row in lines if row["kind"] == "found"]
        show(
            sorted(found, key=lambda row: -row["score"]), FINDINGS, as_json=False, empty="No check had anything to say"
        )
        for row in lines:
            if row["kind"] == "judged":
                reason = f" ({row['text']})" if row["text"] else ""
                click.echo(f"{row['recipient']}: {row['result']} at {row['score']:.1f}{reason}")
                if row["weighed"]:
                    click.echo(f"  counted for less than above, by experience: {row['weighed']}")


@spam.command("weights")
@json_option
@click.pass_obj
def weights(palomar: Any, as_json: bool) -> None:
    """Show which checks were right and wrong about mail that people moved to and from Junk, and what that makes them.

    The factor is what their scores are multiplied by.
    """
    show(palomar.call("spam.weights"), WEIGHTS, as_json=as_json, empty="Nobody has moved mail to or from Junk yet")


@spam.command("forget")
@click.argument("checks", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.pass_obj
def forget(palomar: Any, checks: tuple[str, ...], everything: bool) -> None:
    """Give CHECKS their whole weight back."""
    if not checks and not everything:
        raise click.UsageError("Name checks, or say --all.")
    count = palomar.call("spam.forget", checks=[*checks], everything=everything)
    done(f"{count} check(s) have their whole weight again")
