"""`palomar quarantine`: what is held, and letting it go."""

from __future__ import annotations

from typing import Any

import click

from appliance.commands.terminal import (
    Column,
    clean,
    done,
    json_option,
    print_json,
    show,
    show_fields,
    size_words,
    time_words,
)
from plugins.spam.quarantine.desk import MAX_LISTED

COLUMNS = (
    Column("name", "Name"),
    Column("recipient", "For"),
    Column("held_at", "Since", time_words),
    Column("score", "Score", lambda score: f"{score:.1f}", right=True),
    Column("sender", "From"),
    Column("subject", "Subject"),
    Column("reason", "Why"),
)
FIELDS = (
    *COLUMNS,
    Column("demanded", "Demanded by", lambda name: name or "-"),
    Column("size", "Size", size_words),
    Column("trace_id", "Trace"),
)


@click.group()
def quarantine() -> None:
    """See what filters hold, and release or remove it."""


@quarantine.command("list")
@click.option("--account", default="", metavar="NAME", help="What is held for one account.")
@json_option
@click.pass_obj
def list_(palomar: Any, account: str, as_json: bool) -> None:
    """List what is held, the oldest first."""
    rows = palomar.call("quarantine.list", account=account)
    show(rows, COLUMNS, as_json=as_json, empty="Nothing is held")
    if len(rows) >= MAX_LISTED:
        click.echo(f"These are the oldest {MAX_LISTED}; there may be more.", err=True)


@quarantine.command("show")
@click.argument("name")
@json_option
@click.pass_obj
def show_(palomar: Any, name: str, as_json: bool) -> None:
    """Show one message that is held, with its header. `palomar queue export NAME` writes all of it."""
    row = palomar.call("quarantine.show", name=name)
    if as_json:
        print_json(row)
        return
    show_fields(row, FIELDS, as_json=False)
    click.echo("")
    for line in row["header"].splitlines():
        click.echo(clean(line))


@quarantine.command("release")
@click.argument("names", nargs=-1, required=True)
@click.option("--learn", is_flag=True, help="Have the filters learn that it was no spam.")
@click.pass_obj
def release(palomar: Any, names: tuple[str, ...], learn: bool) -> None:
    """Let messages go on to where they were going."""
    done(f"{palomar.call('quarantine.release', names=[*names], learn=learn)} message(s) released")


@quarantine.command("remove")
@click.argument("names", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(palomar: Any, names: tuple[str, ...], yes: bool) -> None:
    """Remove messages for good. Nobody is told."""
    if not yes:
        click.confirm(f"Remove {len(names)} message(s) for good?", abort=True, err=True)
    done(f"{palomar.call('quarantine.remove', names=[*names])} message(s) removed")


@quarantine.command("digest")
@click.pass_obj
def digest(palomar: Any) -> None:
    """Tell everybody by mail, now, what is held since they were told last."""
    done(f"{palomar.call('quarantine.digest')} account(s) told")
