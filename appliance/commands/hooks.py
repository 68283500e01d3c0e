"""`palomar hooks`: the plugin API at a glance, and its reference."""

from __future__ import annotations

import dataclasses

import click

from appliance.commands.terminal import Column, json_option, print_json, show
from appliance.reference import hooks as declared_hooks
from appliance.reference import hooks_document

COLUMNS = (
    Column("name", "Hook"),
    Column("awaited", "Kind", lambda awaited: "awaited" if awaited else "start-up"),
    Column("combine", "Answers"),
    Column("on_failure", "If a plugin fails"),
    Column("contract", "What for", lambda contract: contract.partition("\n")[0]),
)


@click.command()
@click.option("--document", is_flag=True, help="Print the reference of every hook in Markdown instead.")
@json_option
def hooks(document: bool, as_json: bool) -> None:
    """List the hooks that plugins can use."""
    if document:
        click.echo(hooks_document(), nl=False)
        return
    rows = [dataclasses.asdict(hook) for hook in declared_hooks()]
    if as_json:
        print_json(rows)
    else:
        show(rows, COLUMNS, as_json=False)
