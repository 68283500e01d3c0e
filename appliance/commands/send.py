"""`palomar send`: submit a message from standard input or from flags. It understands what programs tell sendmail."""

from __future__ import annotations

import base64
import email.message
import email.parser
import email.policy
import email.utils
import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from appliance.commands.context import Palomar
from appliance.commands.mailbox import PIECE
from appliance.commands.mailfiles import MAX_MESSAGE
from appliance.commands.terminal import done, fail, json_option, print_json
from appliance.control import CallError
from appliance.mail.message import with_crlf

_BCC = re.compile(rb"^Bcc:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")


def for_sendmails_sake(command: Callable[..., None]) -> Callable[..., None]:
    """Take the options of sendmail that need no doing: dots end no message, errors are told, 8-bit text is known."""
    for flags in ("-i", "-v", "-m", "-n", "-G", "-U"):
        command = click.option(flags, is_flag=True, hidden=True, expose_value=False)(command)
    for valued in ("-o", "-O", "-B", "-e", "-L"):
        command = click.option(valued, multiple=True, hidden=True, expose_value=False)(command)
    return command


@click.command()
@click.option("-f", "-r", "--from", "sender", default="", help="The sender's address; otherwise that of From.")
@click.option("-F", "full_name", default="", help="The sender's name, for a message without a From field.")
@click.option("-t", "--read-recipients", is_flag=True, help="Take recipients from To, Cc and Bcc; Bcc is removed.")
@click.option("-N", "notify", default="", help="Report to the sender: never, or some of success,failure,delay.")
@click.option("-R", "ret", default="", help="Let reports have the whole message (full) or its header (hdrs).")
@click.option("-V", "envid", default="", help="A name for this message, which reports repeat.")
@click.option("-b", "mode", default="m", hidden=True)
@for_sendmails_sake
@click.option("--to", multiple=True, help="Write a message to this address; can be given several times.")
@click.option("--subject", default="", help="The subject of the message to write.")
@click.option("--text", default=None, help="The text of the message to write; otherwise standard input.")
@click.argument("recipients", nargs=-1)
@json_option
@click.pass_obj
def send(
    palomar: Palomar,
    sender: str,
    full_name: str,
    read_recipients: bool,
    notify: str,
    ret: str,
    envid: str,
    mode: str,
    to: tuple[str, ...],
    subject: str,
    text: str | None,
    recipients: tuple[str, ...],
    as_json: bool,
) -> None:
    """Submit a message: a whole one from standard input to RECIPIENTS, or one written from --to, --subject and --text.

    \b
    palomar send -f ana@example.org luis@example.org < message.eml
    palomar send --from ana@example.org --to luis@example.org --subject Lunch --text "At one?"

    Names without a domain are of the first one in `domains`. The options that programs give sendmail are taken: -oi,
    -oem, -B8BITMIME and the like change nothing, since all of it goes without saying here.
    """  # noqa: D301 - click wants the control character
    if mode != "m":
        raise _no_mode(mode)
    if to or subject or text is not None:
        raw = _written(_whole(palomar, sender or _login_name()), to, subject, text)
        recipients = (*recipients, *to)
    else:
        raw = _read()
    header = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(raw)
    if read_recipients:
        recipients = (*recipients, *_addresses(header, "To", "Cc", "Bcc"))
        raw = _without_bcc(raw)
    if not recipients:
        raise CallError("the message has no recipients", remedy="Name them, or use -t to take those of its header.")
    sender = _whole(palomar, sender or next(iter(_addresses(header, "Sender", "From")), "") or _login_name())
    raw = _missing_fields(header, sender, full_name) + raw
    asked = {"notify": notify.split(",") if notify else [], "ret": ret, "envid": envid}
    _submit(palomar, raw, asked | {"sender": sender, "recipients": sorted(set(recipients))}, as_json)


def _no_mode(mode: str) -> CallError:
    """What to do instead of asking sendmail for something that is no sending."""
    instead = {"p": "Type: palomar queue list", "s": "Connect to the SMTP port.", "d": "Type: palomar run"}
    return CallError(f"sendmail's -b{mode} is not for `palomar send`", remedy=instead.get(mode, "Leave -b out."))


def _submit(palomar: Palomar, raw: bytes, arguments: dict[str, Any], as_json: bool) -> None:
    found: dict[str, Any] = palomar.call("send", _pieces(with_crlf(raw)), **arguments)
    if as_json:
        print_json(found)
    elif found["accepted"]:
        done(f"accepted as {found['trace_id']}; `palomar trace {found['trace_id']}` tells its way")
    for refused in found["refused"]:
        fail(f"{refused['address']}: {refused['reply']}")
    if found["refused"]:
        raise click.exceptions.Exit(1)


def _pieces(raw: bytes) -> Iterator[str]:
    for start in range(0, len(raw), PIECE):
        yield base64.b64encode(raw[start : start + PIECE]).decode()


def _read() -> bytes:
    if sys.stdin.isatty():
        click.echo("Type the message, its header first; Ctrl-D ends it.", err=True)
    raw = sys.stdin.buffer.read(MAX_MESSAGE + 1)
    if len(raw) > MAX_MESSAGE:
        raise CallError(f"the message passes {MAX_MESSAGE >> 20} MiB")
    if not _HEADER.match(raw):
        raw = b"\n" + raw  # no header at all: everything is text
    return raw


def _written(sender: str, to: Sequence[str], subject: str, text: str | None) -> bytes:
    message = email.message.EmailMessage(
        policy=email.policy.SMTPUTF8 if _needs_utf8(sender, *to) else email.policy.SMTP
    )
    if text is None:
        if sys.stdin.isatty():
            click.echo("Type the text; Ctrl-D ends it.", err=True)
        text = sys.stdin.read(MAX_MESSAGE)
    try:
        message["From"] = sender
        message["To"] = ", ".join(to)
        message["Subject"] = subject
    except ValueError as error:  # a line end in a value
        raise CallError(f"the header cannot be written: {error}") from None
    message.set_content(text if text.endswith("\n") else f"{text}\n")
    return message.as_bytes()


def _needs_utf8(*addresses: str) -> bool:
    return not all(address.isascii() for address in addresses)


def _addresses(header: email.message.Message, *names: str) -> list[str]:
    values = [str(value) for name in names for value in header.get_all(name, [])]
    return [address for _, address in email.utils.getaddresses(values) if address]


def _without_bcc(raw: bytes) -> bytes:
    text = raw.replace(b"\r\n", b"\n")
    end = text.find(b"\n\n") + 1 or len(text)
    return _BCC.sub(b"", text[:end]) + text[end:]


def _missing_fields(header: email.message.Message, sender: str, full_name: str) -> bytes:
    """What every message must have (RFC 5322 section 3.6) and this one has not."""
    fields = []
    if "From" not in header:
        named = email.utils.formataddr((full_name, sender)) if full_name and sender.isascii() else sender
        fields.append(f"From: {' '.join(named.split())}")
    if "Date" not in header:
        fields.append(f"Date: {email.utils.formatdate(localtime=True)}")
    if "Message-ID" not in header:
        fields.append(f"Message-ID: {email.utils.make_msgid(domain=sender.rpartition('@')[2] or None)}")
    return "".join(f"{field}\n" for field in fields).encode()


def _login_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _whole(palomar: Palomar, name: str) -> str:
    """The address, with the domain that it may lack."""
    config = palomar.core_config
    return name if "@" in name else f"{name}@{next(iter(config.domains), config.hostname)}"
