"""`palomar srs`: return addresses of redirected mail."""

from __future__ import annotations

from typing import Any

import click

from appliance.commands.terminal import done


@click.group()
def srs() -> None:
    """See to the return addresses of redirected mail."""


@srs.command("rotate")
@click.option("--forget", is_flag=True, help="Forget the older keys too: bounces on their way now are refused.")
@click.pass_obj
def rotate(palomar: Any, forget: bool) -> None:
    """Make a new key now, which happens by itself every `rotate_days`."""
    count: int = palomar.call("srs.rotate", forget=forget)
    done(f"a new key makes return addresses; {count} older one(s) still open theirs")
