"""`palomar check`: every problem of the configuration at once."""

from __future__ import annotations

import dataclasses

import click

from appliance.app import examine
from appliance.commands.context import Palomar
from appliance.commands.status import show_lines
from appliance.commands.terminal import done, json_option, print_json
from appliance.config import CoreConfig
from appliance.errors import ConfigError, Problem
from appliance.preflight import exposed


@click.command()
@json_option
@click.pass_obj
def check(palomar: Palomar, as_json: bool) -> None:
    """Read the configuration and tell every problem, with its file, line and remedy.

    Also tries what a start needs: ports, certificates, folders. Exits with 2 if anything is wrong. While the
    appliance runs, its state is shown too.
    """
    problems = _problems(palomar)
    if as_json:
        print_json([dataclasses.asdict(problem) for problem in problems])
        raise click.exceptions.Exit(2 if problems else 0)
    if problems:
        raise ConfigError(problems)
    done(f"{palomar.path}: no problems")
    if palomar.is_running():
        show_lines(palomar.call("status"))


def _problems(palomar: Palomar) -> list[Problem]:
    try:
        loaded, problems = examine(palomar.path)
        if problems and palomar.is_running(loaded.settings[CoreConfig].data):
            loaded, problems = examine(palomar.path, running=True)  # it is we who hold the ports
    except ConfigError as error:
        return error.problems
    return [*problems, *exposed(loaded.settings)]
