"""`palomar account`: accounts and their passwords."""

from __future__ import annotations

import sys
from typing import Any

import click

from appliance.commands.context import Palomar
from appliance.commands.terminal import (
    SIZE,
    Column,
    done,
    json_option,
    limit_words,
    list_words,
    print_json,
    show,
    show_fields,
    size_words,
    yes_words,
)
from appliance.mail.language import LANGUAGES

COLUMNS = (
    Column("name", "Account"),
    Column("used_bytes", "Used", size_words, right=True),
    Column("quota_bytes", "Quota", limit_words, right=True),
    Column("enabled", "Enabled", yes_words),
    Column("weak", "Weak logins", yes_words),
    Column("held", "Sending", lambda why: f"held: {why}" if why else "free"),
    Column("language", "Language", lambda tag: tag or "-"),
    Column("redirect", "Redirect", lambda address: address or "-"),
    Column("redirect_keep", "Keeps a copy", yes_words),
    Column("app_passwords", "App passwords", list_words),
)
MAX_PASSWORD_LINE = 4096  # octets that --password-stdin reads at most

password_stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)
hash_stdin_option = click.option(
    "--hash-stdin", is_flag=True, help="Read what `palomar account hash` made, instead of a password."
)


@click.group()
def account() -> None:
    """Manage accounts and their passwords.

    An account's NAME is its primary address and its login: ana@example.org.
    """


@account.command("add")
@click.argument("name")
@click.option("--quota", type=SIZE, default=0, help="Room for mail: 500M, 2G; 0 is no limit.")
@click.option("--weak", is_flag=True, help="Also allow SCRAM-SHA-1, CRAM-MD5 and APOP, which keep weak verifiers.")
@password_stdin_option
@hash_stdin_option
@click.pass_obj
def add(palomar: Palomar, name: str, quota: int, weak: bool, password_stdin: bool, hash_stdin: bool) -> None:
    """Create the account NAME with its mailboxes. The password is asked for."""
    given = _given(password_stdin, hash_stdin)
    palomar.call("account.add", name=name, quota_bytes=quota, weak=weak, **given)
    done(f"account {name} is ready")


@account.command("list")
@json_option
@click.pass_obj
def list_(palomar: Palomar, as_json: bool) -> None:
    """List the accounts."""
    show(palomar.call("account.list"), COLUMNS, as_json=as_json, empty="There are no accounts; add one")


@account.command("show")
@click.argument("name")
@json_option
@click.pass_obj
def show_(palomar: Palomar, name: str, as_json: bool) -> None:
    """Show one account."""
    show_fields(palomar.call("account.show", name=name), COLUMNS, as_json=as_json)


@account.command("password")
@click.argument("name")
@password_stdin_option
@hash_stdin_option
@click.pass_obj
def password(palomar: Palomar, name: str, password_stdin: bool, hash_stdin: bool) -> None:
    """Give the account NAME a new password. Application passwords stay as they are."""
    palomar.call("account.password", name=name, **_given(password_stdin, hash_stdin))
    done(f"{name} has a new password")


@account.command("hash")
@password_stdin_option
def hash_(password_stdin: bool) -> None:
    """Print what can stand for a password in a first-boot file, or be given to --hash-stdin.

    Nobody can log in with it, and it is made so that guessing the password from it takes long.
    """
    from appliance.auth.credentials import make_credentials  # 4 MiB that other commands can do without

    try:
        made = make_credentials(_new_password(password_stdin))
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    click.echo(b" ".join(data for _, data in made).decode())


@account.command("quota")
@click.argument("name")
@click.argument("quota", type=SIZE)
@click.pass_obj
def quota_(palomar: Palomar, name: str, quota: int) -> None:
    """Limit the room for the mail of NAME to QUOTA (500M, 2G; 0 is no limit)."""
    palomar.call("account.set", name=name, quota_bytes=quota)
    done(f"{name} has {f'room for {size_words(quota)}' if quota else 'no limit'}")


@account.command("enable")
@click.argument("name")
@click.pass_obj
def enable(palomar: Palomar, name: str) -> None:
    """Let NAME log in and get mail again."""
    palomar.call("account.set", name=name, enabled=True)
    done(f"{name} is enabled")


@account.command("disable")
@click.argument("name")
@click.pass_obj
def disable(palomar: Palomar, name: str) -> None:
    """Refuse logins of NAME and mail for it. Nothing is deleted."""
    palomar.call("account.set", name=name, enabled=False)
    done(f"{name} is disabled")


@account.command("hold")
@click.argument("name")
@click.option("--reason", default="", help="Why, for whoever looks at `palomar status`.")
@click.pass_obj
def hold_(palomar: Palomar, name: str, reason: str) -> None:
    """Hold what NAME sends: it is taken, but waits in the queue, as does what waits there now. Mail for NAME comes."""
    count = palomar.call("account.hold", name=name, reason=reason)
    waiting = f", and {count} recipient(s) of what waited" if count else ""
    done(f"what {name} sends is held{waiting}; palomar account release {name} ends that")


@account.command("release")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Throw the held mail away instead, without telling anybody.")
@click.pass_obj
def release_(palomar: Palomar, name: str, remove: bool) -> None:
    """Let NAME send again, and let go what was held, also where a limit of [door.outbound] had held it."""
    count = palomar.call("account.release", name=name, remove=remove)
    done(f"{name} may send again; {count} recipient(s) {'removed' if remove else 'released'}")


@account.command("redirect")
@click.argument("name")
@click.argument("address", required=False, default="")
@click.option("--keep", is_flag=True, help="Keep a copy of each message here.")
@click.pass_obj
def redirect(palomar: Palomar, name: str, address: str, keep: bool) -> None:
    """Send all mail for NAME to ADDRESS instead; without ADDRESS deliver it here again."""
    if keep and not address:
        raise click.UsageError("--keep needs the ADDRESS of a redirect.")
    palomar.call("account.set", name=name, redirect=address, redirect_keep=keep)
    here = " and stays here too" if keep else ""
    done(f"mail for {name} {f'goes to {address}{here}' if address else 'is delivered here'}")


@account.command("language")
@click.argument("name")
@click.argument("language", required=False, type=click.Choice(LANGUAGES))
@click.pass_obj
def language_(palomar: Palomar, name: str, language: str | None) -> None:
    """Write to NAME in LANGUAGE; without it, in the appliance's own (the setting `language`)."""
    palomar.call("account.set", name=name, language=language or "")
    done(f"{name} is written to in {language or 'the language of the appliance'}")


@account.command("weak")
@click.argument("name")
@click.argument("choice", type=click.Choice(["on", "off"]))
@password_stdin_option
@click.pass_obj
def weak_(palomar: Palomar, name: str, choice: str, password_stdin: bool) -> None:
    """Allow SCRAM-SHA-1, CRAM-MD5 and APOP for NAME, or stop it.

    Their verifiers are weak or recoverable, so it is each account's own choice. Switching on needs the account's
    password, which is asked for; switching off removes the weak verifiers.
    """
    password = _password(password_stdin, f"Password of {name}") if choice == "on" else None
    palomar.call("account.weak", name=name, allow=choice == "on", password=password)
    done(f"weak logins of {name} are {'allowed' if choice == 'on' else 'off'}")


@account.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(palomar: Palomar, name: str, yes: bool) -> None:
    """Delete the account NAME with all its mail."""
    if not yes:
        found: dict[str, Any] = palomar.call("account.show", name=name)
        click.confirm(f"Delete {name} with {size_words(found['used_bytes'])} of mail for good?", abort=True, err=True)
    palomar.call("account.delete", name=name)
    done(f"account {name} is gone")


@account.group("app-password")
def app_password() -> None:
    """Manage passwords for single devices and programs, each with a login name of its own."""


@app_password.command("add")
@click.argument("name")
@click.argument("label")
@json_option
@click.pass_obj
def app_password_add(palomar: Palomar, name: str, label: str, as_json: bool) -> None:
    """Make a password for the device LABEL of account NAME and show it, once."""
    made: dict[str, str] = palomar.call("account.app_password_add", name=name, label=label)
    if as_json:
        print_json(made)
        return
    click.echo(f"login:    {made['login']}")
    click.echo(f"password: {made['password']}")
    click.echo("It is not shown again.", err=True)


@app_password.command("list")
@click.argument("name")
@json_option
@click.pass_obj
def app_password_list(palomar: Palomar, name: str, as_json: bool) -> None:
    """List the application passwords of NAME; the passwords themselves are not kept."""
    columns = (Column("label", "Label"), Column("login", "Login"))
    rows = palomar.call("account.app_password_list", name=name)
    show(rows, columns, as_json=as_json, empty=f"{name} has no application passwords")


@app_password.command("remove")
@click.argument("name")
@click.argument("label")
@click.pass_obj
def app_password_remove(palomar: Palomar, name: str, label: str) -> None:
    """Let the device LABEL of NAME log in no more."""
    palomar.call("account.app_password_remove", name=name, label=label)
    done(f"the application password {label} of {name} is gone")


def _given(password_stdin: bool, hash_stdin: bool) -> dict[str, str]:
    if hash_stdin:
        return {"verifiers": _password(True, "Hash")}
    return {"password": _new_password(password_stdin)}


def _new_password(from_stdin: bool) -> str:
    return _password(from_stdin, "Password", again="The same again")


def _password(from_stdin: bool, prompt: str, *, again: str = "") -> str:
    """Ask, or read one line. A password is never an argument, where every user of the machine could read it."""
    if from_stdin:
        return sys.stdin.readline(MAX_PASSWORD_LINE).rstrip("\r\n")
    text: str = click.prompt(prompt, hide_input=True, confirmation_prompt=again or False, err=True)
    return text
