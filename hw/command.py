"""`palomar network`: what palomar-hw knows, in words; and what it can be asked for.

It asks palomar-hw itself, so that it works while the mail process is down.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

import appliance
from appliance.errors import ApplianceError, ProtocolError
from hw import health
from hw.mailside import READ_OCTETS, socket_path
from hw.messages import (
    ClientMessage,
    Hello,
    Identify,
    Refused,
    Renew,
    State,
    encode,
    server_messages,
)

ANSWER_S = 10.0


class HwError(ApplianceError):
    """palomar-hw could not be asked, or does not do what it was asked for."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def network(ctx: click.Context, as_json: bool) -> None:
    """Show board and network: interfaces, ways out, addresses, names, time, storage."""
    if ctx.invoked_subcommand is not None:
        return
    state = ask()
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(state), indent=2, ensure_ascii=False))
        return
    lines = list(health.lines(state))
    width = max(len(label) for label, _, _ in lines)
    for label, value, level in lines:
        colour = {"warning": "yellow", "error": "red"}.get(level)
        click.echo(f"{click.style(f'{label:{width}}', bold=True)}  {click.style(_printable(value), fg=colour)}")
    if not state.settled:
        click.echo("The network is still being set up.")


@network.command()
@click.argument("nic", default="")
def renew(nic: str) -> None:
    """Ask the DHCP server anew, for one interface NIC or for all."""
    if nic and nic not in (names := [one.name for one in ask().nics]):
        raise HwError(f"there is no interface {nic!r}", f"There are: {', '.join(names) or 'none'}.")
    tell(Renew(nic=nic))
    click.echo(f"{nic or 'Every interface'} asks for its address anew.")


@network.command()
@click.option("--seconds", type=click.IntRange(1, 600), default=30, show_default=True, help="For how long.")
def identify(seconds: int) -> None:
    """Let the board's LED flicker, to find it among others."""
    tell(Identify(seconds=seconds))
    click.echo(f"The LED flickers for {seconds} s.")


def ask(path: Path | None = None) -> State:
    """The state as palomar-hw sees it now. Raises HwError."""
    with _connected(path or socket_path()) as connection:
        return _first_state(connection)


def tell(message: ClientMessage, path: Path | None = None) -> None:
    """Have palomar-hw do something. Raises HwError when it does not take it."""
    with _connected(path or socket_path()) as connection:
        _first_state(connection)  # it has let us in
        connection.sendall(encode(message))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(READ_OCTETS):  # it reads up to our end, then closes
            continue


def _first_state(connection: socket.socket) -> State:
    messages = server_messages()
    while octets := connection.recv(READ_OCTETS):
        messages.receive(octets)
        while (message := messages.next_message()) is not None:
            if isinstance(message, Refused):
                raise HwError(f"palomar-hw refused: {message.reason}")
            return message
    raise HwError("palomar-hw closed the connection", "Look into its log: journalctl -u palomar-hw.")


@contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(str(path))
            connection.sendall(encode(Hello(role="command", version=appliance.__version__)))
            yield connection
    except (FileNotFoundError, ConnectionRefusedError):
        raise HwError(f"nobody listens at {path}", "Start palomar-hw.") from None
    except PermissionError:
        raise HwError(f"no access to {path}", "Run the command as root or as the appliance's user.") from None
    except TimeoutError:
        raise HwError(f"palomar-hw gave no answer within {ANSWER_S:.0f} s", "Look into its log.") from None
    except ProtocolError as error:
        raise HwError(f"palomar-hw answered nonsense: {error}", "Are both of the same release?") from error


def _printable(text: str) -> str:
    """Names of networks and servers come from strangers: nothing in them may steer the terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
