"""`palomar queue`: what waits for delivery."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
    Column("age_s", "Age", span_words, right=True),
    Column("next_at", "Next try", time_words),
    Column("last_reply", "Last reply"),
)
FIELDS = (
    *COLUMNS,
    Column("created_at", "Queued", time_words),
    Column("tried_at", "Last try", time_words),
    Column("transport", "Transport"),
    Column("next_hop", "Next hop", lambda hop: hop or "-"),
    Column("policy", "TLS policy", lambda policy: policy or "-"),
    Column("priority", "Priority"),
    Column("release_at", "Not before", time_words),
    Column("deliver_by", "Deliver by", time_words),
    Column("trace_id", "Trace"),
)
HISTORY = (
    Column("at", "When", time_words),
    Column("what", "What"),
    Column("peer", "By", lambda peer: peer or "-"),
    Column("text", "Words"),
)
_SPAN = re.compile(r"(\d{1,9})(s|min|m|h|d|w)?")
_SECONDS = {"": 60, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class SpanType(click.ParamType[int]):
    """An age on the command line: `90` (minutes), `45s`, `20m`, `4h`, `2d`, `1w`."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds."""
        if isinstance(value, int):
            return value
        found = _SPAN.fullmatch(str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is no age; write 20m, 4h or 2d", param, ctx)
        return int(found[1]) * _SECONDS[found[2] or ""]


SPAN = SpanType()

_FILTERS = (
    click.option(
        "--sender", metavar="WHO", help="Only from this address, domain or pattern (*); <> is the null sender."
    ),
    click.option("--recipient", metavar="WHO", help="Only to this address, domain or pattern."),
    click.option("--reason", metavar="TEXT", help="Only those whose last reply has these words."),
    click.option("--state", type=click.Choice(["active", "held", "damaged"]), help="Only those in this state."),
    click.option("--via", metavar="NAME", help="Only by this transport or next hop."),
    click.option("--older", "older_s", type=SPAN, help="Only what is at least so old: 20m, 4h, 2d."),
    click.option("--newer", "newer_s", type=SPAN, help="Only what is not yet so old."),
    click.option("--subdomains", is_flag=True, help="With a domain, those below it too."),
)

targets_argument = click.argument("targets", nargs=-1)
all_option = click.option("--all", "everything", is_flag=True, help="All of the queue.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
count_option = click.option("--count", "only_count", is_flag=True, help="Only say how many that would be.")


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose entries. All that are given must apply."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def steering_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Targets, filters, and what goes with a change."""
    return targets_argument(filter_options(all_option(count_option(command))))


@click.group(invoke_without_command=True)
@click.pass_context
def queue(context: click.Context) -> None:
    """See and steer what waits for delivery; alone, list it.

    TARGETS are entries as `palomar queue list` names them (17.0, or 17 for all recipients of message 17), or
    recipient domains. Filters narrow them down; without targets they choose from all of the queue.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_)


@queue.command("list")
@targets_argument
@filter_options
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Entries at most.")
@json_option
@click.pass_obj
def list_(
    palomar: Palomar, /, targets: tuple[str, ...] = (), limit: int = 1000, as_json: bool = False, **filters: Any
) -> None:
    """List waiting recipients: all, TARGETS, or those that the filters let through."""
    where = _where(targets, filters, everything=False) or {"everything": True}
    rows = [row for piece in palomar.stream("queue.list", where=where, limit=limit) for row in piece]
    show(rows, COLUMNS, as_json=as_json, empty="Nothing waits")
    if len(rows) == limit and not as_json and (total := palomar.call("queue.count", where=where)) > limit:
        click.echo(f"{limit} of {total} recipients; --limit shows more, `palomar queue summary` all.", err=True)


@queue.command("summary")
@targets_argument
@filter_options
@click.option(
    "--by", type=click.Choice(["domain", "sender", "hop"]), default="domain", show_default=True,
    help="Recipient domains, senders' domains, or next hops.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=40, show_default=True, help="Lines at most.")
@json_option
@click.pass_obj
def summary(palomar: Palomar, /, targets: tuple[str, ...], by: str, limit: int, as_json: bool, **filters: Any) -> None:
    """Count waiting recipients by domain and age: where is the jam, and since when?"""
    where = _where(targets, filters, everything=False) or {"everything": True}
    found = palomar.call("queue.summary", where=where, by=by, limit=limit)
    if as_json:
        print_json(found)
        return
    titles = [f"<{minutes}m" for minutes in found["ages"]] + [f"{found['ages'][-1]}m+"]
    rows = [
        {"name": row["name"], "total": row["total"], **dict(zip(titles, row["ages"], strict=True))}
        for row in (found["total"], *found["rows"])
    ]
    columns = [
        Column("name", by.capitalize(), lambda name: name or "<>"),
        Column("total", "Total", right=True),
        *(Column(title, title, lambda number: str(number or "."), right=True) for title in titles),
    ]
    show(rows if found["rows"] else [], columns, as_json=False, empty="Nothing waits")
    if found["groups"] > limit:
        click.echo(f"{limit} of {found['groups']} lines; --limit shows more.", err=True)


@queue.command("show")
@click.argument("entry")
@click.option("--message", is_flag=True, help="Print the header of the message too.")
@json_option
@click.pass_obj
def show_(palomar: Palomar, /, entry: str, message: bool, as_json: bool) -> None:
    """Show one ENTRY, or all those of a message, in short."""
    rows = palomar.call("queue.explain", name=entry, header=message)
    if as_json:
        print_json(rows)
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        show_fields(row, FIELDS, as_json=False)
    if message:
        click.echo("\n" + "\n".join(map(clean, rows[0]["header"].splitlines())))


@queue.command("explain")
@click.argument("entry")
@json_option
@click.pass_obj
def explain(palomar: Palomar, /, entry: str, as_json: bool) -> None:
    """Explain why ENTRY still waits: what was tried, what the other side said, and what comes next."""
    rows = palomar.call("queue.explain", name=entry)
    if as_json:
        print_json(rows)
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        show_fields(row, FIELDS, as_json=False)
        click.echo(clean(_next_step(row)))
        if row["history"]:
            click.echo()
            show(row["history"], HISTORY, as_json=False)


def _next_step(row: dict[str, Any]) -> str:
    """One sentence about what happens next."""
    place = row["destination"]
    hop = row["next_hop"] or row["transport"]
    if row["state"] == "held":
        return f"It is held: `palomar queue release {row['name']}` lets it go on."
    if row["state"] == "damaged":
        return (
            "It is damaged and nothing is tried. `palomar queue export` saves what is there, `release` tries it once"
            " more, `remove --bounce` tells its sender."
        )
    if place["resume_at"]:
        return (
            f"{hop} was out of reach {place['failures']} time(s) in a row ({place['reason']}); nothing is sent there"
            f" before {time_words(place['resume_at'])}. `palomar queue retry {row['name']}` knocks at once."
        )
    if place["under_way"]:
        return f"{place['under_way']} deliveries to {hop} are under way just now."
    return f"The next attempt, by {row['transport']} {row['next_hop']}, is due {time_words(row['next_at'])}."


@queue.command("export")
@click.argument("entry")
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.pass_obj
def export(palomar: Palomar, /, entry: str, path: Path) -> None:
    """Copy the message of ENTRY to a new file PATH (.eml), or to standard output."""
    answer = palomar.stream("queue.export", name=entry)
    size = next(answer)["size"]
    if str(path) == "-":
        _copy(answer, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    try:
        with path.open("xb") as file:
            _copy(answer, file.write)
    except FileExistsError:
        raise CallError(f"{path} is there already", remedy="Choose another name.") from None
    done(f"{size_words(size)} went to {path}")


def _copy(answer: Iterator[Any], write: Callable[[bytes], Any]) -> None:
    for piece in answer:
        write(base64.b64decode(piece))


@queue.command("hold")
@steering_options
@click.option("--why", default="", help="A reason, for whoever looks at it later.")
@yes_option
@click.pass_obj
def hold(palomar: Palomar, /, why: str, **choice: Any) -> None:
    """Keep TARGETS back until they are released."""
    _steer(palomar, "queue.hold", "held", choice, ask="Hold {}?", reason=why)


@queue.command("release")
@steering_options
@click.pass_obj
def release(palomar: Palomar, /, **choice: Any) -> None:
    """Let held TARGETS go on; those that were put aside as damaged are tried once more."""
    _steer(palomar, "queue.release", "released", choice)


@queue.command("retry")
@steering_options
@click.pass_obj
def retry(palomar: Palomar, /, **choice: Any) -> None:
    """Try TARGETS again now. Held ones stay held."""
    _steer(palomar, "queue.retry", "scheduled", choice)


@queue.command("flush")
@click.pass_obj
def flush(palomar: Palomar, /) -> None:
    """Try all of the queue again now: `retry --all`."""
    _steer(palomar, "queue.retry", "scheduled", {"targets": (), "everything": True})


@queue.command("reroute")
@steering_options
@click.option("--smarthost", metavar="NAME", help="By the smart host of this name.")
@click.option("--host", metavar="HOST[:PORT]", help="To this host.")
@click.option("--rules", is_flag=True, help="As the rules of today say for the recipient's address.")
@yes_option
@click.pass_obj
def reroute(palomar: Palomar, /, smarthost: str | None, host: str | None, rules: bool, **choice: Any) -> None:
    """Send TARGETS by another way, now."""
    ways = [f"smarthost {smarthost}"] * bool(smarthost) + [f"host {host}"] * bool(host) + ["rules"] * rules
    if len(ways) != 1:
        raise CallError("say one way", remedy="Give one of --smarthost NAME, --host HOST[:PORT], --rules.")
    _steer(palomar, "queue.reroute", "rerouted", choice, ask="Reroute {}?", to=ways[0])


@queue.command("remove")
@steering_options
@click.option("--bounce", is_flag=True, help="Tell the senders, as after a delivery that failed.")
@click.option("--why", default="", help="With --bounce: a reason that the senders read.")
@yes_option
@click.pass_obj
def remove(palomar: Palomar, /, bounce: bool, why: str, **choice: Any) -> None:
    """Give TARGETS up. Nobody is told, unless --bounce is given."""
    ask = "Remove {} and tell the senders?" if bounce else "Remove {} without telling the senders?"
    _steer(palomar, "queue.remove", "removed", choice, ask=ask, always=True, bounce=bounce, reason=why)


def _steer(
    palomar: Palomar,
    call: str,
    word: str,
    choice: dict[str, Any],
    *,
    ask: str = "",
    always: bool = False,
    **arguments: Any,
) -> None:
    """Do it, after a question where it is not undone easily: `always`, else only if more is meant than was named."""
    targets, everything = choice.pop("targets"), choice.pop("everything")
    yes, only_count = choice.pop("yes", False), choice.pop("only_count", False)
    where = _where(targets, choice, everything=everything)
    if not where or (everything and targets):
        raise CallError("say which", remedy="Name entries or domains, filter, or say --all.")
    if only_count:
        click.echo(_recipients(palomar.call("queue.count", where=where)))
        return
    if ask and not yes and (always or set(where) != {"names"}):
        count = palomar.call("queue.count", where=where)
        click.confirm(ask.format(_recipients(count)), abort=True, err=True)
    done(f"{_recipients(palomar.call(call, where=where, **arguments))} {word}")


def _where(targets: tuple[str, ...], filters: dict[str, Any], *, everything: bool) -> dict[str, Any]:
    """What is chosen, as the calls take it; empty when nothing is."""
    names = [target for target in targets if target.replace(".", "").isdecimal()]
    domains = [target for target in targets if target not in names]
    given = {name: value for name, value in filters.items() if value}
    found = {"names": names, "domains": domains, "everything": everything}
    return given | {name: value for name, value in found.items() if value}


def _recipients(count: int) -> str:
    return f"{count} recipient{'' if count == 1 else 's'}"
