"""The `palomar` command: finds the commands, and turns errors into words, remedies and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from appliance import __version__
from appliance.commands.context import Palomar
from appliance.commands.terminal import clean, fail
from appliance.document import CONFIG_VARIABLE
from appliance.errors import ApplianceError, ConfigError, Problem

EXIT_ERROR = 1
EXIT_CONFIG = 2
EXIT_INTERRUPTED = 130

COMMANDS = {  # name → what it is for; the module of that name in appliance.commands holds it
    "run": "Run the appliance until it is told to stop.",
    "check": "Read the configuration and tell every problem.",
    "status": "Tell how the appliance is, on one page.",
    "config": "Show the configuration, or document all settings.",
    "hooks": "List the hooks that plugins can use.",
    "account": "Manage accounts and their passwords.",
    "domain": "Manage the domains whose mail is ours.",
    "alias": "Manage addresses that lead to other addresses.",
    "list": "Manage addresses whose mail goes to many members.",
    "mailbox": "Manage an account's mailboxes; import and export mail.",
    "queue": "See and steer what waits for delivery.",
    "trace": "Tell what became of a message.",
    "send": "Submit a message from standard input.",
    "completion": "Print the completion script for a shell.",
}


class Commands(click.Group):
    """Our own commands, imported one by one, and those that plugins bring."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Ours in the order of use, then the plugins'."""
        return [*COMMANDS, *sorted(self._plugin_commands(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module, or ask the plugins."""
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"appliance.commands.{cmd_name}")
            command = getattr(module, cmd_name)
            assert isinstance(command, click.Command)
            return command
        return self._plugin_commands(ctx).get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing ours."""
        theirs = sorted(self._plugin_commands(ctx).items())
        rows = [*COMMANDS.items(), *((name, command.get_short_help_str()) for name, command in theirs)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _plugin_commands(self, ctx: click.Context) -> dict[str, click.Command]:
        """What the configured plugins bring; nothing while the configuration cannot be used."""
        try:
            commands = [command for _, command in _palomar_of(ctx).loaded.dispatch.gather("commands")]
        except ConfigError:
            return {}  # `palomar check` and every command that needs the configuration tell why
        return {command.name: command for command in commands if command.name and command.name not in COMMANDS}


def _palomar_of(ctx: click.Context) -> Palomar:
    """The one Palomar of this command line. Commands are looked up before the group's own function runs."""
    if ctx.obj is None:
        ctx.obj = Palomar(ctx.params.get("config"))
        ctx.call_on_close(ctx.obj.close)
    assert isinstance(ctx.obj, Palomar)
    return ctx.obj


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    envvar=CONFIG_VARIABLE,
    is_eager=True,  # known before --help, which lists the commands of its plugins
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file; otherwise ./palomar.toml or /etc/palomar/palomar.toml.",
)
@click.version_option(__version__, prog_name="palomar")
@click.pass_context
def palomar(ctx: click.Context, config: Path | None) -> None:
    """A small office's whole mail system."""
    _palomar_of(ctx)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0, 2 for the configuration, 1 for everything else.

    `status` has codes of its own.
    """
    try:
        code = palomar.main(arguments, prog_name="palomar", standalone_mode=False)
        sys.stdout.flush()
    except ConfigError as error:
        tell_problems(error.problems)
        return EXIT_CONFIG
    except click.UsageError as error:
        usage = error.ctx.command_path if error.ctx is not None else "palomar"
        fail(error.format_message(), f"`{usage} --help` shows how it is used.")
    except click.ClickException as error:
        fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # `palomar trace | head`: nothing is wrong. Keep the interpreter from flushing into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ApplianceError as error:
        fail(str(error), error.remedy)
    except OSError as error:
        fail(str(error))
    else:
        return code if isinstance(code, int) else 0
    return EXIT_ERROR


def tell_problems(problems: Sequence[Problem]) -> None:
    """Print every problem of the configuration with its place and remedy, on standard error."""
    for problem in sorted(problems, key=lambda p: (p.file, p.line)):
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        head = f"{click.style(place, bold=True)}: " if place else ""
        click.echo(f"{head}{click.style(problem.setting, fg='red')}: {clean(problem.text)}", err=True)
        if problem.remedy:
            click.echo(f"  {click.style('remedy:', fg='green')} {clean(problem.remedy)}", err=True)
    count = len(problems)
    click.echo(f"{count} problem{'' if count == 1 else 's'} in the configuration.", err=True)
