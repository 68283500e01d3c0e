"""`palomar run`: the appliance itself, and the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import click

import appliance
from appliance import demo
from appliance.app import Loaded, examine
from appliance.app import run as run_appliance
from appliance.commands.context import Palomar
from appliance.config import CoreConfig, Settings
from appliance.control import CallError
from appliance.document import DEMO_CONFIG
from appliance.errors import ConfigError
from appliance.loop import run as run_loop
from appliance.preflight import binds

TO_TRY = """\
Try this in another terminal; README.md has more:

  export PALOMAR_CONFIG={config}
  {palomar} send --from {luis} --to {ana} --subject Lunch --text "At one?"
  curl -u {ana}:{password} 'imap://{imap}/INBOX;MAILINDEX=1'
  {palomar} trace {ana}

Ctrl-C stops it.
"""


@click.command()
@click.option("--demo", "with_demo", is_flag=True, help="Start the demo: loopback only, with two accounts to try.")
@click.pass_obj
def run(palomar: Palomar, with_demo: bool) -> None:
    """Run the appliance until it is told to stop (SIGTERM, SIGINT); SIGHUP reads the configuration again."""
    loaded = _demo() if with_demo else _examined(palomar.path)
    also = [_Banner(loaded.settings)] if with_demo else []
    status = run_loop(lambda: run_appliance(loaded, also=also))
    if with_demo and status == 0:
        click.echo(f"Stopped. Accounts and mail stay in {_from_here(loaded.settings[CoreConfig].data.resolve())}.")
    raise click.exceptions.Exit(status)


def _examined(path: Path) -> Loaded:
    """The configuration, fit for a start. Raises ConfigError with everything that is wrong."""
    loaded, problems = examine(path)
    if problems:
        raise ConfigError(problems)
    return loaded


def _demo() -> Loaded:
    """The demo's configuration, with its accounts made. Raises ConfigError if it is not for this machine alone."""
    if not DEMO_CONFIG.is_file():
        raise CallError(f"{DEMO_CONFIG} is not there", remedy="The demo runs in a checkout of the source: make run.")
    palomar = Palomar(DEMO_CONFIG)
    try:
        if palomar.is_running():
            raise CallError("the demo runs already", remedy="Use it, or stop it with Ctrl-C in its terminal.")
        loaded = _examined(DEMO_CONFIG)
        if name := demo.reachable(loaded.settings):
            text = "others can reach this address; the demo stays on the loopback."
            raise ConfigError([loaded.settings.problem(name, text, "Take it back to 127.0.0.1.")])
        known = {row["name"] for row in palomar.call("account.list")}
        for name in demo.ACCOUNTS:
            if name not in known:
                palomar.call("account.add", name=name, password=demo.PASSWORD)
    finally:
        palomar.close()
    return loaded


class _Banner:
    """The last service to start: when it runs, everything it tells of is there."""

    name = "banner"
    after: Sequence[str] = ()

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self, ready: Callable[[], None]) -> None:
        """Print once, then wait for the end."""
        click.echo(banner(self._settings))
        ready()
        await asyncio.Event().wait()

    async def reload(self) -> None:
        """What was said stays said."""


def banner(settings: Settings) -> str:
    """Where the demo listens, who can log in, and what to try."""
    ports = list(binds(settings))
    width = max(len(name) for name, _ in ports)
    lines = [f"  {click.style(name.ljust(width), bold=True)}  {bind}" for name, bind in ports]
    imap = next((bind for name, bind in ports if name.startswith("imap")), "")
    ana, luis = demo.ACCOUNTS
    tried = TO_TRY.format(
        config=_from_here(DEMO_CONFIG),
        palomar=_from_here(Path(appliance.__file__).resolve().parent.parent / ".venv" / "bin" / "palomar"),
        ana=ana,
        luis=luis,
        password=demo.PASSWORD,
        imap=imap,
    )
    head = "\nPalomar's demo is up. Only this machine can reach it.\n"
    logins = f"\n  {click.style('logins'.ljust(width), bold=True)}  {ana}, {luis}; password: {demo.PASSWORD}\n"
    return "\n".join([head, *lines, logins, tried])


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
