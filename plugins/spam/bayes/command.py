"""`palomar bayes`: learn from folders and mailbox files, and see how much was learnt."""

from __future__ import annotations

import mailbox
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from appliance.commands.terminal import Column, done, json_option, show
from appliance.errors import MessageError
from appliance.mail.message import Message, with_crlf
from plugins.spam.bayes.protocol_tokens import tokens_of

MAX_MESSAGE = 1 << 20  # octets of one message that are read; its first texts are in them
CALL_TOKENS = 40_000  # of one call: the control socket takes a line of 1 MiB
OWNERS = (
    Column("account", "Account"),
    Column("spam", "Spam", right=True),
    Column("ham", "Other mail", right=True),
    Column("tokens", "Tokens", right=True),
)


@click.group()
def bayes() -> None:
    """Teach the learning filter, and see how much it has learnt."""


@bayes.command("train")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--spam/--ham", "spam", default=None, help="What PATH holds: spam, or wanted mail.")
@click.option("--account", default="", metavar="NAME", help="Learn for one account, not for all.")
@click.pass_obj
def train(palomar: Any, path: Path, spam: bool | None, account: str) -> None:
    """Learn from PATH: an mbox, a Maildir, a folder of single messages, or one message in a file.

    This process takes the messages apart; only numbers go to the appliance. Train a few hundred of each kind.
    """
    if spam is None:
        raise click.UsageError("Say what it is: --spam or --ham.")
    count, tokens, batch = 0, 0, list[list[int]]()
    for raw in messages_at(path):
        try:
            made = tokens_of(Message.parse(with_crlf(raw[:MAX_MESSAGE])))
        except MessageError as error:
            click.echo(f"one message was left out: {error}", err=True)
            continue
        if batch and tokens + len(made) > CALL_TOKENS:
            count += palomar.call("bayes.train", messages=batch, spam=spam, account=account)
            tokens, batch = 0, []
        batch.append(sorted(made))
        tokens += len(made)
    if batch:
        count += palomar.call("bayes.train", messages=batch, spam=spam, account=account)
    done(f"{count} messages learnt as {'spam' if spam else 'wanted mail'}")


@bayes.command("status")
@json_option
@click.pass_obj
def status(palomar: Any, as_json: bool) -> None:
    """Show how much was learnt, for all and by account."""
    show(palomar.call("bayes.status"), OWNERS, as_json=as_json, empty="Nothing was learnt")


def messages_at(path: Path) -> Iterator[bytes]:
    """The messages in a file or folder, one after the other, each without an mbox's From line."""
    if (path / "cur").is_dir():
        maildir = mailbox.Maildir(path, create=False)
        yield from (maildir.get_bytes(key) for key in maildir.iterkeys())
    elif path.is_dir():
        for one in sorted(path.rglob("*")):
            if one.is_file() and not one.name.startswith("."):
                yield _without_from(one.read_bytes())
    elif path.read_bytes()[:5] == b"From " and path.read_bytes().count(b"\nFrom ") > 0:
        box = mailbox.mbox(path, create=False)
        yield from (box.get_bytes(key) for key in box.iterkeys())
    else:
        yield _without_from(path.read_bytes())


def _without_from(raw: bytes) -> bytes:
    return raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw
