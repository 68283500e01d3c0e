"""`palomar dkim`: the keys that sign our mail."""

from __future__ import annotations

from typing import Any

import click

from appliance.commands.terminal import Column, done, json_option, show

KEYS = (Column("name", "Name in DNS"), Column("kind", "Kind"), Column("state", "State"))
NONE_YET = "There are no keys yet; they are made within a minute of the start"


@click.group()
def dkim() -> None:
    """Manage the keys that sign mail of our domains.

    Keys are made for every domain by themselves. One signs as soon as DNS has its record, which `palomar domain dns`
    prints, and is replaced in the same way.
    """


@dkim.command("list")
@json_option
@click.pass_obj
def list_(palomar: Any, as_json: bool) -> None:
    """List the keys, the newest of each domain first."""
    show(palomar.call("dkim.list"), KEYS, as_json=as_json, empty=NONE_YET)


@dkim.command("look")
@json_option
@click.pass_obj
def look(palomar: Any, as_json: bool) -> None:
    """Look in DNS for all keys now, instead of within the hour."""
    show(palomar.call("dkim.look"), KEYS, as_json=as_json, empty=NONE_YET)


@dkim.command("make")
@click.argument("domain")
@click.pass_obj
def make(palomar: Any, domain: str) -> None:
    """Make new keys for DOMAIN. Those in use sign on until DNS has the new ones."""
    show(palomar.call("dkim.make", domain=domain), KEYS, as_json=False)
    done(f"publish what `palomar domain dns {domain}` prints")


@dkim.command("remove")
@click.argument("domain")
@click.argument("selector")
@click.pass_obj
def remove(palomar: Any, domain: str, selector: str) -> None:
    """Forget the key SELECTOR of DOMAIN at once. Mail that it signed and that is on its way will not verify."""
    palomar.call("dkim.remove", domain=domain, selector=selector)
    done(f"forgotten; take {selector}._domainkey.{domain} out of DNS")
