"""`palomar lists`: whom the office, or an account, trusts, and from whom it wants no mail."""

from __future__ import annotations

from typing import Any

import click

from appliance.commands.terminal import Column, done, json_option, show, time_words

ENTRIES = (
    Column("pattern", "Who"),
    Column("kind", "Kind"),
    Column("note", "Note", lambda note: note or "-"),
    Column("made_at", "Since", time_words),
)
account_option = click.option("--account", default="", metavar="NAME", help="An account's own list, not the office's.")


@click.group()
def lists() -> None:
    """Manage whom the office, or an account, trusts, and from whom it wants no mail.

    WHO is an address, a domain with all below it, or a network. What stands in palomar.toml is not listed here.
    """


@lists.command("show")
@account_option
@json_option
@click.pass_obj
def show_(palomar: Any, account: str, as_json: bool) -> None:
    """Show a list."""
    show(palomar.call("spamlists.list", account=account), ENTRIES, as_json=as_json, empty="Nobody is listed")


@lists.command("allow")
@click.argument("who")
@account_option
@click.option("--note", default="", help="Why, for whoever reads the list.")
@click.pass_obj
def allow(palomar: Any, who: str, account: str, note: str) -> None:
    """Trust WHO, where SPF, DKIM or DMARC prove the name."""
    done(f"{palomar.call('spamlists.put', kind='allow', pattern=who, account=account, note=note)} is trusted")


@lists.command("deny")
@click.argument("who")
@account_option
@click.option("--note", default="", help="Why, for whoever reads the list.")
@click.pass_obj
def deny(palomar: Any, who: str, account: str, note: str) -> None:
    """Refuse mail from WHO."""
    done(f"{palomar.call('spamlists.put', kind='deny', pattern=who, account=account, note=note)} is refused")


@lists.command("remove")
@click.argument("who")
@account_option
@click.pass_obj
def remove(palomar: Any, who: str, account: str) -> None:
    """Take WHO off the list."""
    palomar.call("spamlists.remove", pattern=who, account=account)
    done(f"{who} is not listed any more")
