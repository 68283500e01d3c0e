"""`palomar queue`: what waits for delivery."""

from __future__ import annotations

import click

from appliance.commands.context import Palomar
from appliance.commands.terminal import (
    Column,
    clean,
    done,
    json_option,
    print_json,
    show,
    show_fields,
    size_words,
    span_words,
    time_words,
)
from appliance.control import CallError

COLUMNS = (
    Column("name", "Entry"),
    Column("recipient", "Recipient"),
    Column("sender", "Sender", lambda sender: sender or "<>"),
    Column("size", "Size", size_words, right=True),
    Column("state", "State"),
    Column("attempts", "Tries", right=True),
    Column("waited_s", "Waited", span_words, right=True),
    Column("next_at", "Next try", time_words),
    Column("last_reply", "Last reply"),
)
FIELDS = (
    *COLUMNS,
    Column("created_at", "Queued", time_words),
    Column("transport", "Transport"),
    Column("next_hop", "Next hop", lambda hop: hop or "-"),
    Column("trace_id", "Trace"),
)

targets_argument = click.argument("targets", nargs=-1)
all_option = click.option("--all", "everything", is_flag=True, help="All of the queue.")


@click.group()
def queue() -> None:
    """See and steer what waits for delivery.

    TARGETS are entries as `palomar queue list` names them (17.0, or 17 for all recipients of message 17), or
    recipient domains.
    """


@queue.command("list")
@click.argument("domain", required=False)
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Entries at most.")
@json_option
@click.pass_obj
def list_(palomar: Palomar, domain: str | None, limit: int, as_json: bool) -> None:
    """List waiting recipients, all or those of DOMAIN."""
    rows = palomar.call("queue.list", domain=domain, limit=limit)
    show(rows, COLUMNS, as_json=as_json, empty="Nothing waits")


@queue.command("show")
@click.argument("entry")
@click.option("--message", is_flag=True, help="Print the header of the message too.")
@json_option
@click.pass_obj
def show_(palomar: Palomar, entry: str, message: bool, as_json: bool) -> None:
    """Show one ENTRY, or all those of a message."""
    rows = palomar.call("queue.show", name=entry)
    if as_json:
        print_json(rows)
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        show_fields(row, FIELDS, as_json=False)
    if message:
        click.echo("\n" + "\n".join(map(clean, rows[0]["header"].splitlines())))


@queue.command("hold")
@targets_argument
@all_option
@click.pass_obj
def hold(palomar: Palomar, targets: tuple[str, ...], everything: bool) -> None:
    """Keep TARGETS back until they are released."""
    _steer(palomar, "queue.hold", targets, everything, "held")


@queue.command("release")
@targets_argument
@all_option
@click.pass_obj
def release(palomar: Palomar, targets: tuple[str, ...], everything: bool) -> None:
    """Let held TARGETS go on."""
    _steer(palomar, "queue.release", targets, everything, "released")


@queue.command("retry")
@targets_argument
@all_option
@click.pass_obj
def retry(palomar: Palomar, targets: tuple[str, ...], everything: bool) -> None:
    """Try TARGETS again now. Held ones stay held."""
    _steer(palomar, "queue.retry", targets, everything, "scheduled")


@queue.command("flush")
@click.pass_obj
def flush(palomar: Palomar) -> None:
    """Try all of the queue again now: `retry --all`."""
    _steer(palomar, "queue.retry", (), True, "scheduled")


@queue.command("remove")
@targets_argument
@all_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(palomar: Palomar, targets: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Give TARGETS up. Nobody is told: the senders get no bounce."""
    if not yes:
        what = "the whole queue" if everything else ", ".join(targets)
        click.confirm(f"Remove {what} without telling the senders?", abort=True, err=True)
    _steer(palomar, "queue.remove", targets, everything, "removed")


def _steer(palomar: Palomar, call: str, targets: tuple[str, ...], everything: bool, word: str) -> None:
    if bool(targets) == everything:
        raise CallError("say which", remedy="Name entries or domains, or --all.")
    names = [target for target in targets if target.replace(".", "").isdecimal()]
    domains = [target for target in targets if target not in names]
    count: int = palomar.call(call, names=names, domains=domains)
    done(f"{count} recipient{'' if count == 1 else 's'} {word}")
