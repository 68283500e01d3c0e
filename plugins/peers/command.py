"""`palomar peers`: what two servers need to know each other."""

from __future__ import annotations

import secrets

import click

GROUPS, GROUP = 6, 5  # of letters without those that are taken for another: 30 of them are 144 bits
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


@click.group()
def peers() -> None:
    """Make servers known to each other: the one with the mailboxes, and those before it."""


@peers.command("secret")
def secret() -> None:
    """Print a new secret. Both servers get it, each into a file that `secret_file` names."""
    groups = ("".join(secrets.choice(LETTERS) for _ in range(GROUP)) for _ in range(GROUPS))
    click.echo("-".join(groups))
