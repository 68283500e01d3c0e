"""The arguments of EHLO, MAIL and RCPT, read into an envelope, or the reply that refuses them."""

from __future__ import annotations

import re
from collections.abc import Callable

from appliance.errors import AddressError
from appliance.mail.address import Address, normal_domain
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.wire.smtp import MAX_ENVID, GrammarError, parse_orcpt, parse_parameters, parse_path, xtext_decode
from plugins.smtp.protocol import TOO_BIG
from plugins.smtp.refusal import RefusedError, bad_value, unknown_parameter
from plugins.smtp.terms import Terms

MAX_HELLO = 255  # octets, RFC 5321 section 4.5.3.1.2

_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_BODIES = frozenset({"7BIT", "8BITMIME", "BINARYMIME"})
_SIZE = re.compile(r"\d{1,20}", re.ASCII)  # RFC 1870 section 4
_OWN_HELLO = re.compile(r"[A-Za-z0-9._:%\[\]-]+")

NOT_ASCII = Reply(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8")


def parse_hello(argument: str, *, strict: bool) -> str:
    """The name that a peer gives itself: a domain or an address literal (RFC 5321 section 4.1.1.1), else RefusedError.

    Mail programs of our own people give what their machine is called, which need not be a domain; without `strict`
    anything passes that can stand in a Received field.
    """
    if not strict and len(argument) <= MAX_HELLO and _OWN_HELLO.fullmatch(argument):
        return argument
    try:
        # Not SMTPUTF8 but A-labels are used here (RFC 6531 section 3.7.1).
        if argument.isascii():
            return normal_domain(argument.removesuffix("."))
    except AddressError:
        pass
    raise RefusedError(Reply(501, "5.5.4", "A domain name or an address literal is needed"))


def parse_mail(argument: str, *, max_size: int, terms: Callable[[], Terms]) -> Envelope:
    """Read what stands behind `MAIL ` (RFC 5321 section 4.1.1.2). Raises RefusedError.

    `terms` is asked only where a parameter of the seldom kind is met.
    """
    if argument[:5].upper() != "FROM:":
        raise RefusedError(Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]"))
    try:
        sender, rest = parse_path(argument[5:])
    except AddressError as error:
        raise RefusedError(Reply(501, "5.1.7", f"Bad sender address: {error}")) from None
    envelope = Envelope(sender)
    if rest:
        _read_mail_parameters(envelope, rest, max_size, terms)
        Terms.check(envelope)
    if sender is not None and not envelope.smtputf8 and not sender.is_ascii:
        raise RefusedError(NOT_ASCII)
    return envelope


def parse_rcpt(argument: str, *, smtputf8: bool, postmaster_domain: str) -> Recipient:
    """Read what stands behind `RCPT ` (RFC 5321 section 4.1.1.3, RFC 3461 section 4). Raises RefusedError.

    `smtputf8` tells whether MAIL gave that parameter.
    """
    if argument[:3].upper() != "TO:":
        raise RefusedError(Reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]"))
    try:
        address, rest = parse_path(argument[3:], postmaster_domain=postmaster_domain)
    except AddressError as error:
        raise RefusedError(Reply(501, "5.1.3", f"Bad recipient address: {error}")) from None
    if address is None:
        raise RefusedError(Reply(501, "5.1.3", "Bad recipient address: it is empty"))
    if not smtputf8 and not address.is_ascii:
        raise RefusedError(NOT_ASCII)
    return _read_rcpt_parameters(address, rest) if rest else Recipient(address)


def _read_mail_parameters(envelope: Envelope, rest: str, max_size: int, terms: Callable[[], Terms]) -> None:
    for key, value in _parameters(rest).items():
        if key == "SIZE":
            envelope.size = _announced_size(value, max_size)
        elif key == "BODY":
            if value.upper() not in _BODIES:
                raise bad_value("BODY")
            envelope.body = value.upper()
        elif key == "SMTPUTF8":
            if value:
                raise bad_value("SMTPUTF8")
            envelope.smtputf8 = True
        elif key == "RET":
            if value.upper() not in {"FULL", "HDRS"}:
                raise bad_value("RET")
            envelope.ret = value.upper()
        elif key == "ENVID":
            if len(value) > MAX_ENVID:
                raise bad_value("ENVID")
            envelope.envid = _xtext("ENVID", value)
        elif key == "AUTH":
            # Whether it is believed is the session's business (RFC 4954 section 5).
            envelope.auth = _xtext("AUTH", value)
        else:
            terms().read(envelope, key, value)


def _read_rcpt_parameters(address: Address, rest: str) -> Recipient:
    notify: frozenset[str] = frozenset()
    orcpt = ""
    for key, value in _parameters(rest).items():
        if key == "NOTIFY":
            words = value.upper().split(",")
            notify = frozenset(words)
            if len(notify) != len(words) or (notify != {"NEVER"} and not notify <= _NOTIFY):
                raise bad_value("NOTIFY")
        elif key == "ORCPT":
            try:
                orcpt = parse_orcpt(value)
            except GrammarError as error:
                raise RefusedError(Reply(501, "5.5.4", f"Bad ORCPT: {error}")) from None
        else:
            raise unknown_parameter(key)
    return Recipient(address, notify, orcpt)


def _parameters(rest: str) -> dict[str, str]:
    try:
        return parse_parameters(rest)
    except GrammarError as error:
        raise RefusedError(Reply(501, "5.5.4", f"Bad parameters: {error}")) from None


def _announced_size(value: str, max_size: int) -> int:
    if not _SIZE.fullmatch(value):
        raise bad_value("SIZE")
    if int(value) > max_size:
        raise RefusedError(TOO_BIG)
    return int(value)


def _xtext(key: str, value: str) -> str:
    try:
        if value:
            return xtext_decode(value)
    except GrammarError:
        pass
    raise bad_value(key)
