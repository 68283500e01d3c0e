"""`palomar completion`: the script by which a shell completes our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_PALOMAR_COMPLETE"  # click answers completion requests when this is set


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  eval "$(palomar completion bash)"     in ~/.bashrc
    zsh:   eval "$(palomar completion zsh)"      in ~/.zshrc
    fish:  palomar completion fish > ~/.config/fish/completions/palomar.fish
    """  # noqa: D301 - click wants the control character
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(ctx.find_root().command, {}, "palomar", VARIABLE).source())
