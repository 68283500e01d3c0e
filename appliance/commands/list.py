"""`palomar list`: addresses whose mail goes to many."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from appliance.commands.context import Palomar
from appliance.commands.terminal import Column, done, json_option, show, yes_words

COLUMNS = (
    Column("address", "List"),
    Column("members", "Members", right=True),
    Column("post", "May write"),
    Column("owner", "Owner"),
    Column("title", "Title", lambda title: title or "-"),
    Column("reply_to_list", "Answers to the list", yes_words),
)
MEMBER_COLUMNS = (Column("address", "Member"),)
MAX_READ = 1 << 20  # octets of addresses that are read from standard input
AT_ONCE = 1000  # members of one call

owner_option = click.option("--owner", help="Who gets what comes back, and mail for NAME-owner@ and NAME-request@.")
title_option = click.option("--title", help="What mail programs may show as the list's name.")
post_option = click.option(
    "--post",
    type=click.Choice(["members", "accounts", "anyone"]),
    help="Who may write to it: its members, everybody who is logged in here, or anyone.",
)
reply_option = click.option(
    "--reply-to-list/--reply-to-author", "reply_to_list", default=None, help="Where answers go; to the author at first."
)


@click.group("list")
def list_group() -> None:
    """Manage addresses whose mail goes to many members.

    An alias does for a handful of people. A list also sets the sender, so that what comes back goes to its owner.
    """


@list_group.command("add")
@click.argument("address")
@click.argument("members", nargs=-1)
@owner_option
@title_option
@post_option
@reply_option
@click.pass_obj
def add(palomar: Palomar, /, address: str, members: tuple[str, ...], **chosen: Any) -> None:
    """Make the list ADDRESS, with MEMBERS."""
    if not chosen["owner"]:
        raise click.UsageError("Name an --owner, who hears of members that cannot be reached.")
    palomar.call("list.add", address=address, **_given(chosen))
    if members:
        palomar.call("list.join", address=address, members=[*members])
    done(f"list {address} is ready")


@list_group.command("set")
@click.argument("address")
@owner_option
@title_option
@post_option
@reply_option
@click.pass_obj
def set_(palomar: Palomar, /, address: str, **chosen: Any) -> None:
    """Change the list ADDRESS."""
    palomar.call("list.set", address=address, **_given(chosen))
    done(f"list {address} is changed")


@list_group.command("list")
@json_option
@click.pass_obj
def list_(palomar: Palomar, as_json: bool) -> None:
    """List the lists."""
    show(palomar.call("list.list"), COLUMNS, as_json=as_json, empty="There are no lists")


@list_group.command("members")
@click.argument("address")
@json_option
@click.pass_obj
def members_(palomar: Palomar, address: str, as_json: bool) -> None:
    """List the members of ADDRESS."""
    rows = palomar.call("list.members", address=address)
    show(rows, MEMBER_COLUMNS, as_json=as_json, empty=f"{address} has no members")


@list_group.command("join")
@click.argument("address")
@click.argument("members", nargs=-1)
@click.option("--stdin", "from_stdin", is_flag=True, help="Read members from standard input, one on each line.")
@click.pass_obj
def join(palomar: Palomar, address: str, members: tuple[str, ...], from_stdin: bool) -> None:
    """Add MEMBERS to the list ADDRESS."""
    everyone = [*members, *(_read_lines() if from_stdin else [])]
    if not everyone:
        raise click.UsageError("Name members, or say --stdin.")
    for start in range(0, len(everyone), AT_ONCE):
        count: int = palomar.call("list.join", address=address, members=everyone[start : start + AT_ONCE])
    done(f"{address} has {count} member(s)")


@list_group.command("leave")
@click.argument("address")
@click.argument("members", nargs=-1, required=True)
@click.pass_obj
def leave(palomar: Palomar, address: str, members: tuple[str, ...]) -> None:
    """Take MEMBERS off the list ADDRESS."""
    palomar.call("list.leave", address=address, members=[*members])
    done(f"{', '.join(members)} left {address}")


@list_group.command("remove")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(palomar: Palomar, address: str, yes: bool) -> None:
    """Remove the list ADDRESS with its members."""
    if not yes:
        click.confirm(f"Remove {address} with its members for good?", abort=True, err=True)
    palomar.call("list.remove", address=address)
    done(f"list {address} is gone")


def _given(chosen: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chosen.items() if value is not None}


def _read_lines() -> Sequence[str]:
    lines = [line.strip() for line in sys.stdin.read(MAX_READ).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


list = list_group  # noqa: A001 - where `palomar` looks for it: this module must not use the built-in one
