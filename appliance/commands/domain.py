"""`palomar domain`: whose mail is ours."""

from __future__ import annotations

import click

from appliance.commands.context import Palomar
from appliance.commands.terminal import Column, clean, done, json_option, print_json, show

COLUMNS = (
    Column("name", "Domain"),
    Column("kind", "Kind"),
    Column("catch_all", "Catch-all", lambda address: address or "-"),
    Column("next_hop", "Next hop", lambda host: host or "-"),
    Column("source", "From"),
)


@click.group()
def domain() -> None:
    """Manage the domains whose mail is ours.

    Domains named in the configuration file are ours too; they are listed, but changed there.
    """


@domain.command("add")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["local", "backup", "relay"]),
    default="local",
    show_default=True,
    help="local: mailboxes are here; backup: mail waits here for the servers that DNS prefers to us;"
    " relay: it is passed on to the next hop.",
)
@click.option("--next-hop", default="", metavar="HOST", help="Where a relay or backup passes mail on to.")
@click.pass_obj
def add(palomar: Palomar, name: str, kind: str, next_hop: str) -> None:
    """Take mail for the domain NAME."""
    palomar.call("domain.add", name=name, kind=kind, next_hop=next_hop)
    done(f"{name} is ours now")


@domain.command("list")
@json_option
@click.pass_obj
def list_(palomar: Palomar, as_json: bool) -> None:
    """List the domains."""
    show(palomar.call("domain.list"), COLUMNS, as_json=as_json, empty="There are no domains; add one")


@domain.command("dns")
@click.argument("name")
@json_option
@click.pass_obj
def dns(palomar: Palomar, name: str, as_json: bool) -> None:
    """Show the DNS records that the domain NAME should have, as lines for its zone file."""
    records = palomar.call("domain.records", name=name)
    if as_json:
        print_json(records)
        return
    for record in records:
        click.secho(f"; {clean(record['purpose'])}", dim=True)
        click.echo(clean(f"{record['name']}. IN {record['type']} {_quoted(record)}"))


def _quoted(record: dict[str, str]) -> str:
    """The value as a zone file has it: texts in strings of at most 255 octets (RFC 1035 section 3.3.14)."""
    value = record["value"]
    if record["type"] != "TXT":
        return value
    escaped = [
        value[start : start + 255].replace("\\", "\\\\").replace('"', '\\"') for start in range(0, len(value), 255)
    ]
    return " ".join(f'"{piece}"' for piece in escaped)


@domain.command("remove")
@click.argument("name")
@click.pass_obj
def remove(palomar: Palomar, name: str) -> None:
    """Take no more mail for the domain NAME. Its accounts and their mail stay."""
    palomar.call("domain.remove", name=name)
    done(f"{name} is no longer ours")


@domain.command("catch-all")
@click.argument("name")
@click.argument("address", required=False, default="")
@click.pass_obj
def catch_all(palomar: Palomar, name: str, address: str) -> None:
    """Send mail for unknown addresses of NAME to ADDRESS; without ADDRESS refuse it again."""
    palomar.call("domain.catch_all", name=name, address=address)
    done(f"unknown addresses of {name} {f'lead to {address}' if address else 'are refused'}")
