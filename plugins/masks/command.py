"""`palomar mask`: addresses that lead to an account until it has enough of them."""

from __future__ import annotations

from typing import Any

import click

from appliance.commands.terminal import Column, done, json_option, print_json, show, time_words

COLUMNS = (
    Column("address", "Address"),
    Column("account", "Leads to", lambda name: name or "-"),
    Column("state", "State"),
    Column("note", "Note", lambda note: note or "-"),
    Column("expires_at", "Until", time_words),
    Column("uses", "Messages", right=True),
    Column("used_at", "Last", time_words),
)


@click.group()
def mask() -> None:
    """Manage addresses that lead to an account, and that it can revoke: one for each shop."""


@mask.command("add")
@click.argument("account")
@click.option("--note", default="", help="What it is for.")
@click.option("--days", type=float, help="Days for which it is good; 0: for good. Otherwise as in [masks].")
@click.option("--domain", default="", help="Another domain of yours than the account's.")
@json_option
@click.pass_obj
def add(palomar: Any, account: str, note: str, days: float | None, domain: str, as_json: bool) -> None:
    """Make an address that leads to ACCOUNT, and print it."""
    made = palomar.call("masks.add", account=account, note=note, days=days, domain=domain)
    print_json(made) if as_json else done(made["address"])


@mask.command("list")
@click.argument("account", required=False, default="")
@json_option
@click.pass_obj
def list_(palomar: Any, account: str, as_json: bool) -> None:
    """List the mask addresses, or those of ACCOUNT."""
    show(palomar.call("masks.list", account=account), COLUMNS, as_json=as_json, empty="There are no mask addresses")


@mask.command("revoke")
@click.argument("address")
@click.pass_obj
def revoke(palomar: Any, address: str) -> None:
    """Refuse mail to ADDRESS from now on."""
    palomar.call("masks.revoke", address=address)
    done(f"{address} is revoked")


@mask.command("renew")
@click.argument("address")
@click.option("--days", type=float, default=0.0, help="Days from now; 0: for good.")
@click.pass_obj
def renew(palomar: Any, address: str, days: float) -> None:
    """Make ADDRESS good again, or for longer."""
    palomar.call("masks.renew", address=address, days=days)
    done(f"{address} is good")


@mask.command("remove")
@click.argument("address")
@click.pass_obj
def remove(palomar: Any, address: str) -> None:
    """Forget ADDRESS: mail to it is refused as to nobody, and a catch-all may get it."""
    palomar.call("masks.remove", address=address)
    done(f"{address} is gone")
