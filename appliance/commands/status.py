"""`palomar status`: how the appliance is, on one page and in the exit code."""

from __future__ import annotations

from collections.abc import Sequence

import click

from appliance.commands.context import Palomar
from appliance.commands.terminal import clean, json_option, print_json

EXIT_WARNING = 3
EXIT_BROKEN = 4
COLOURS = {"warning": "yellow", "error": "red"}
VERDICTS = {
    0: "All is well.",
    EXIT_WARNING: "Something wants your attention.",
    EXIT_BROKEN: "Something is broken.",
}
NOT_RUNNING = "does not run; start it with `palomar run`, or see the system's log why it stopped"


@click.command()
@json_option
@click.pass_obj
def status(palomar: Palomar, as_json: bool) -> None:
    """Tell how the appliance is: mail, disk, clock, network, and what wants attention.

    The exit code is 0 if all is well, 3 if something wants attention, 4 if something is broken or nothing runs.
    """
    lines = palomar.call("status") if palomar.is_running() else [("Palomar", NOT_RUNNING, "error")]
    lines = [*lines, ("Configuration", str(palomar.path), "info")]
    code = verdict(lines)
    if as_json:
        rows = [dict(zip(("label", "value", "level"), line, strict=True)) for line in lines]
        print_json({"well": code == 0, "lines": rows})
    else:
        show_lines(lines)
        click.echo(VERDICTS[code])
    raise click.exceptions.Exit(code)


def verdict(lines: Sequence[Sequence[str]]) -> int:
    """The exit code for lines (label, value, level): the worst of them counts."""
    levels = {level for _, _, level in lines}
    return EXIT_BROKEN if "error" in levels else EXIT_WARNING if "warning" in levels else 0


def show_lines(lines: Sequence[Sequence[str]]) -> None:
    """Print lines (label, value, level), those that want attention in colour and marked."""
    width = max(len(label) for label, _, _ in lines)
    for label, value, level in lines:
        mark = "" if level == "info" else f"{level}: "
        shown = click.style(f"{mark}{clean(value)}", fg=COLOURS.get(level))
        click.echo(f"{click.style(f'{clean(label):{width}}', bold=True)}  {shown}")
