"""`palomar mailbox`: an account's mailboxes; mail in from files and out to files."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from appliance.commands import mailfiles
from appliance.commands.context import Palomar
from appliance.commands.mailfiles import Letter, Source
from appliance.commands.terminal import Column, done, json_option, print_json, show, size_words, yes_words
from appliance.wire.imap import decode_mailbox

COLUMNS = (
    Column("name", "Mailbox"),
    Column("messages", "Messages", right=True),
    Column("unseen", "Unseen", right=True),
    Column("bytes", "Size", size_words, right=True),
    Column("subscribed", "Subscribed", yes_words),
    Column("special_use", "Use", lambda use: use.lstrip("\\") or "-"),
)
SHARES = (Column("name", "Mailbox"), Column("whom", "Shared with"), Column("rights", "Rights"))
PIECE = 192 << 10  # octets of a message in one line of the control socket, before base64


@click.group()
def mailbox() -> None:
    """Manage an account's mailboxes; import and export mail.

    Levels of a mailbox name are separated by a slash: Projects/Harbour.
    """


@mailbox.command("list")
@click.argument("account")
@json_option
@click.pass_obj
def list_(palomar: Palomar, account: str, as_json: bool) -> None:
    """List the mailboxes of ACCOUNT."""
    show(palomar.call("mailbox.list", account=account), COLUMNS, as_json=as_json, empty="There are no mailboxes")


@mailbox.command("create")
@click.argument("account")
@click.argument("name")
@click.pass_obj
def create(palomar: Palomar, account: str, name: str) -> None:
    """Create the mailbox NAME and subscribe to it."""
    palomar.call("mailbox.create", account=account, name=name)
    done(f"mailbox {name} is there")


@mailbox.command("rename")
@click.argument("account")
@click.argument("name")
@click.argument("new_name")
@click.pass_obj
def rename(palomar: Palomar, account: str, name: str, new_name: str) -> None:
    """Rename the mailbox NAME, and those below it, to NEW_NAME."""
    palomar.call("mailbox.rename", account=account, name=name, new_name=new_name)
    done(f"mailbox {name} is {new_name} now")


@mailbox.command("delete")
@click.argument("account")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(palomar: Palomar, account: str, name: str, yes: bool) -> None:
    """Delete the mailbox NAME with its mail."""
    if not yes:
        click.confirm(f"Delete the mailbox {name} of {account} with all its mail for good?", abort=True, err=True)
    palomar.call("mailbox.delete", account=account, name=name)
    done(f"mailbox {name} is gone")


@mailbox.command("subscribe")
@click.argument("account")
@click.argument("name")
@click.option("--off", is_flag=True, help="End the subscription.")
@click.pass_obj
def subscribe(palomar: Palomar, account: str, name: str, off: bool) -> None:
    """Subscribe to the mailbox NAME, so that mail programs show it."""
    palomar.call("mailbox.subscribe", account=account, name=name, subscribed=not off)
    done(f"{name} is {'not subscribed' if off else 'subscribed'}")


@mailbox.command("share")
@click.argument("account")
@click.argument("name")
@click.argument("whom")
@click.option("--rights", default="lrswite", show_default=True, help="Letters, see above.")
@click.option("--subscribe/--no-subscribe", default=True, help="Whether WHOM's mail programs show it at once.")
@json_option
@click.pass_obj
def share(palomar: Palomar, account: str, name: str, whom: str, rights: str, subscribe: bool, as_json: bool) -> None:
    """Let WHOM use the mailbox NAME of ACCOUNT.

    WHOM is an account, or "anyone" for all accounts; a "-" before it (after "--") takes rights away that others give.
    RIGHTS are those of RFC 4314: l see it, r read, s mark as read, w set other flags, i put mail in, p post, k create
    mailboxes below it, x delete or rename it, t mark as deleted, e remove what is, a share it with others.
    """
    found = palomar.call("mailbox.share", account=account, name=name, whom=whom, rights=rights, subscribe=subscribe)
    if as_json:
        print_json(found)
    else:
        done(f"{whom} has the rights {found['rights'] or 'none'} on {found['shown_as']}")


@mailbox.command("unshare")
@click.argument("account")
@click.argument("name")
@click.argument("whom")
@click.pass_obj
def unshare(palomar: Palomar, account: str, name: str, whom: str) -> None:
    """End what `share` did: WHOM sees the mailbox NAME no more."""
    palomar.call("mailbox.share", account=account, name=name, whom=whom, rights="")
    done(f"{name} is not shared with {whom} any more")


@mailbox.command("shares")
@click.argument("account")
@json_option
@click.pass_obj
def shares(palomar: Palomar, account: str, as_json: bool) -> None:
    """List who may use which mailboxes of ACCOUNT."""
    show(palomar.call("mailbox.shares", account=account), SHARES, as_json=as_json, empty="Nothing is shared")


@mailbox.command("role")
@click.argument("account")
@click.option("--off", is_flag=True, help="It is a person's account.")
@click.pass_obj
def role(palomar: Palomar, account: str, off: bool) -> None:
    """Say that ACCOUNT is a role, such as office@: what it shares stands under "Shared Folders".

    That of persons stands under "Other Users". Say it before sharing: the names change with it.
    """
    palomar.call("mailbox.role", account=account, is_role=not off)
    done(f"what {account} shares stands under {'Other Users' if off else 'Shared Folders'}")


@mailbox.command("import")
@click.argument("account")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--into", default="INBOX", show_default=True, help="The mailbox; it is made if it is not there.")
@json_option
@click.pass_obj
def import_(palomar: Palomar, account: str, path: Path, into: str, as_json: bool) -> None:
    """Copy mail from PATH: an mbox, a Maildir (with its subfolders), or one message in a file.

    Flags and arrival times come along. Importing the same mail again makes copies.
    """
    found = mailfiles.sources(path, decode_name=decode_mailbox)
    rows = []
    with click.progressbar(length=sum(source.size for source in found), label="Importing", file=sys.stderr) as bar:
        for source in found:
            name = into if not source.folder else source.folder if into == "INBOX" else f"{into}/{source.folder}"
            items = _upload(source, bar.update)
            rows.append({"mailbox": name, **palomar.call("mailbox.import", items, account=account, mailbox=name)})
    if as_json:
        print_json(rows)
    for row in [] if as_json else rows:
        done(f"{row['messages']} messages, {size_words(row['bytes'])}, went into {row['mailbox']}")


@mailbox.command("export")
@click.argument("account")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["mbox", "maildir"]), default="mbox", show_default=True)
@click.pass_obj
def export(palomar: Palomar, account: str, name: str, path: Path, kind: str) -> None:
    """Copy the mail of the mailbox NAME to a new file or folder PATH."""
    answer = palomar.stream("mailbox.export", account=account, mailbox=name)
    total = next(answer)["messages"]
    target = mailfiles.writer(path, kind)
    try:
        with click.progressbar(length=total, label="Exporting", file=sys.stderr) as bar:
            for letter in _download(answer):
                target.add(letter)
                bar.update(1)
    finally:
        target.close()
    done(f"{total} messages went to {path}")


def _upload(source: Source, progress: Callable[[int], None]) -> Iterator[dict[str, Any] | str]:
    """A letter as the control socket takes it: what it is, then its bytes in pieces."""
    for letter, took in mailfiles.read(source):
        flags = [flag for flag in letter.flags if flag.startswith("\\")]
        keywords = [flag for flag in letter.flags if not flag.startswith("\\")]
        yield {"flags": flags, "keywords": keywords, "at": letter.at, "size": len(letter.data)}
        for start in range(0, len(letter.data), PIECE):
            yield base64.b64encode(letter.data[start : start + PIECE]).decode()
        progress(took)


def _download(answer: Iterator[Any]) -> Iterator[Letter]:
    for item in answer:
        pieces = []
        left = item["size"]
        while left > 0:
            pieces.append(base64.b64decode(next(answer)))
            left -= len(pieces[-1])
        yield Letter(b"".join(pieces), (*item["flags"], *item["keywords"]), item["at"])
