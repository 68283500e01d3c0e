"""`palomar alias`: addresses that lead to other addresses."""

from __future__ import annotations

import click

from appliance.commands.context import Palomar
from appliance.commands.terminal import Column, done, json_option, list_words, show

COLUMNS = (Column("address", "Address"), Column("targets", "Leads to", list_words))


@click.group()
def alias() -> None:
    """Manage addresses that lead to other addresses."""


@alias.command("add")
@click.argument("address")
@click.argument("targets", nargs=-1, required=True)
@click.pass_obj
def add(palomar: Palomar, address: str, targets: tuple[str, ...]) -> None:
    """Let mail for ADDRESS go to TARGETS, besides those it goes to already."""
    all_targets: list[str] = palomar.call("alias.add", address=address, targets=list(targets))
    done(f"{address} leads to {list_words(all_targets)}")


@alias.command("list")
@json_option
@click.pass_obj
def list_(palomar: Palomar, as_json: bool) -> None:
    """List the aliases."""
    show(palomar.call("alias.list"), COLUMNS, as_json=as_json, empty="There are no aliases")


@alias.command("remove")
@click.argument("address")
@click.argument("target", required=False)
@click.pass_obj
def remove(palomar: Palomar, address: str, target: str | None) -> None:
    """Let ADDRESS lead to TARGET no more; without TARGET, let it lead nowhere."""
    palomar.call("alias.remove", address=address, target=target)
    done(f"{address} leads to {target} no more" if target else f"{address} is no alias any more")
