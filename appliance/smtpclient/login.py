"""AUTH on the client's side (RFC 4954): the best mechanism on offer, and never a password in clear."""

from __future__ import annotations

import asyncio
import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING

from appliance.mail.reply import Reply
from appliance.smtpclient.binding import server_end_point
from appliance.smtpclient.hop import HopError, Login
from appliance.wire.sasl.client import BearerClient, ExternalClient, choose, choose_token, client
from appliance.wire.sasl.errors import SaslServerError

if TYPE_CHECKING:
    from appliance.smtpclient.client import SmtpClient
    from appliance.wire.sasl.client import ClientMechanism

MAX_STEPS = 8  # challenges of one exchange; SCRAM has two
_UNKNOWN_MECHANISM = (504, 534)  # the server does not do, or not for this user, what it offered
_EMPTY = b"="  # an initial response of no octets, RFC 4954 section 4


async def log_in(smtp: SmtpClient, login: Login) -> None:
    """Authenticate the connection. Raises HopError, always temporary: a wrong password is ours to mend, and the mail
    waits for that instead of bouncing.
    """
    offered = smtp.machine.extensions.get("AUTH", "").upper().split()
    if not login.username and "EXTERNAL" not in offered:
        return  # the certificate that TLS has shown is all there is; such hosts may want to hear no more
    certificate = smtp.connection.peer_certificate()
    binding = server_end_point(certificate) if certificate else b""
    refusal = Reply(454, "4.7.0", _nothing_fits(offered, smtp.private))
    while (mechanism := _chosen(login, offered, private=smtp.private, bound=bool(binding))) is not None:
        try:
            exchange = _begun(smtp, login, mechanism, offered, binding)
        except ValueError as error:
            raise _failed(smtp, Reply(454, "4.7.0", f"user name or password cannot be sent: {error}")) from error
        reply = await _exchange(smtp, mechanism, exchange)
        if reply.positive:
            return
        who = f" as {login.username}" if login.username else ""
        refusal = Reply(454, "4.7.8", f"AUTH {mechanism}{who} refused: {reply}")
        if reply.code not in _UNKNOWN_MECHANISM:
            break
        offered.remove(mechanism)
    raise _failed(smtp, refusal)


def _chosen(login: Login, offered: list[str], *, private: bool, bound: bool) -> str | None:
    if login.token:
        return choose_token(offered, private=private)
    if not login.username:
        return next((name for name in offered if name == "EXTERNAL"), None)
    return choose(offered, private=private, bound=bound)


def _begun(smtp: SmtpClient, login: Login, mechanism: str, offered: list[str], binding: bytes) -> ClientMechanism:
    if login.token:
        return BearerClient(mechanism, login.username, login.token, host=smtp.hop.host, port=smtp.hop.port)
    if not login.username:
        return ExternalClient()
    return client(
        mechanism,
        login.username,
        login.password,
        nonce=secrets.token_urlsafe(24).encode(),
        binding=binding,
        plus_offered=any(name.endswith("-PLUS") for name in offered),
    )


async def _exchange(smtp: SmtpClient, mechanism: str, exchange: ClientMechanism) -> Reply:
    """Carry one exchange to its end. Raises HopError when the server did not prove what it must."""
    timeout = smtp.hop.timeouts.auth
    try:
        first = exchange.step(None)
        initial = f" {_base64(first).decode()}" if first else f" {_EMPTY.decode()}" if first is not None else ""
        smtp.write(smtp.machine.command("AUTH", mechanism + initial))
        reply = await smtp.answer("AUTH", timeout)
        for _ in range(MAX_STEPS):
            if reply.code != 334:
                break
            # SCRAM's key derivation takes milliseconds, or as long as the server likes within our bounds.
            response = await asyncio.to_thread(exchange.step, a2b_base64(reply.text, strict_mode=True))
            smtp.write(smtp.machine.respond(_base64(response or b"")))
            reply = await smtp.answer("AUTH", timeout)
    except (SaslServerError, Base64Error) as error:
        smtp.abort()
        raise _failed(smtp, Reply(454, "4.7.0", f"AUTH {mechanism}: {error}")) from error
    if reply.positive and not exchange.done:
        # Success before the server's proof: an impostor cannot do better than that.
        smtp.abort()
        raise _failed(smtp, Reply(454, "4.7.0", f"AUTH {mechanism}: the server did not prove itself"))
    return reply


def _nothing_fits(offered: list[str], private: bool) -> str:
    if not offered:
        return "the host offers no AUTH"
    in_clear = "" if private else "; without TLS no password is sent in clear"
    return f"the host offers no usable AUTH mechanism, only {', '.join(offered)}{in_clear}"


def _failed(smtp: SmtpClient, reply: Reply) -> HopError:
    return HopError(reply, peer=smtp.peer)


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False)
