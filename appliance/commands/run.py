"""`palomar run`: the appliance itself."""

from __future__ import annotations

from pathlib import Path

import click

import appliance
from appliance import demo
from appliance.app import Loaded, load
from appliance.app import run as run_appliance
from appliance.commands.context import Palomar
from appliance.config import CoreConfig
from appliance.control import CallError
from appliance.errors import ConfigError, Problem
from appliance.loop import run as run_loop
from appliance.preflight import binds

DEMO_CONFIG = Path(appliance.__file__).resolve().parent.parent / "demo" / "palomar.toml"


@click.command()
@click.option("--demo", "with_demo", is_flag=True, help="Start the demo: loopback only, with two accounts to try.")
@click.pass_obj
def run(palomar: Palomar, with_demo: bool) -> None:
    """Run the appliance until it is told to stop (SIGTERM, SIGINT); SIGHUP reads the configuration again."""
    loaded = _demo() if with_demo else palomar.loaded
    raise click.exceptions.Exit(run_loop(lambda: run_appliance(loaded)))


def _demo() -> Loaded:
    if not DEMO_CONFIG.is_file():
        raise CallError(f"{DEMO_CONFIG} is not there", remedy="The demo runs in a checkout of the source: make run.")
    loaded = load(DEMO_CONFIG)
    if name := demo.reachable(loaded.settings):
        text = "others can reach this address; the demo stays on the loopback."
        raise ConfigError([loaded.settings.problem(name, text, "Take it back to 127.0.0.1.")])
    palomar = Palomar(DEMO_CONFIG)
    try:
        known = {row["name"] for row in palomar.call("account.list")}
        for name in demo.ACCOUNTS:
            if name not in known:
                palomar.call("account.add", name=name, password=demo.PASSWORD)
    finally:
        palomar.close()
    return loaded
