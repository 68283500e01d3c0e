"""What one message asks of a hop, and whether the hop's extensions allow it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from appliance.errors import AddressError, MessageError
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.wire.smtp import GrammarError, format_orcpt, format_path, xtext_encode
from appliance.wire.smtp_client import checked, stuffed

SMALL = 65536  # octets; up to here a message is prepared as one piece before anything is sent

_NO_REQUIRETLS = "the message requires TLS on its whole way, and the next host does not see to that (REQUIRETLS)"
_NO_BINARY = "the next host takes no binary messages (BINARYMIME)"
_NO_8BIT = "the next host takes no 8-bit messages (8BITMIME), and messages are not converted here"
_NO_UTF8_HEADER = "the next host takes no internationalized headers (SMTPUTF8)"
_NO_UTF8_SENDER = "the next host takes no internationalized sender addresses (SMTPUTF8)"
_NO_UTF8_RECIPIENT = "the next host takes no internationalized recipient addresses (SMTPUTF8)"


@dataclass(slots=True)
class Prepared:
    """The commands for one message and one hop. `refused` holds the recipients it cannot be sent to, by index."""

    mail: str = ""  # the argument of MAIL
    recipients: dict[int, str] = field(default_factory=dict)  # index to the argument of RCPT
    refused: dict[int, Reply] = field(default_factory=dict)
    chunking: bool = False  # sent by BDAT instead of DATA
    binary: bool = False
    whole: bytes = b""  # the text as it goes over the wire, if the message is SMALL

    def pieces(self, message: Message) -> Iterator[bytes]:
        """The text as it goes over the wire, piece by piece. Raises MessageError at a bare CR or LF."""
        chunks = message.chunks()
        if self.binary:
            return chunks
        return checked(chunks) if self.chunking else stuffed(chunks)


def prepare(
    extensions: Mapping[str, str], envelope: Envelope, recipients: Sequence[Recipient], message: Message
) -> Prepared:
    """Make the commands for a message, or note why it cannot be sent, for all recipients or for some."""
    prepared = Prepared(chunking="CHUNKING" in extensions)
    try:
        refusal = _prepare(prepared, extensions, envelope, recipients, message)
    except MessageError as error:
        refusal = Reply(554, "5.6.0", f"the message cannot be sent: {error}")
    except GrammarError as error:
        refusal = Reply(554, "5.5.4", f"the envelope cannot be sent: {error}")
    if refusal is not None:
        prepared.refused = dict.fromkeys(range(len(recipients)), refusal)
        prepared.recipients.clear()
    return prepared


def _prepare(
    prepared: Prepared,
    extensions: Mapping[str, str],
    envelope: Envelope,
    recipients: Sequence[Recipient],
    message: Message,
) -> Reply | None:
    if envelope.require_tls and "REQUIRETLS" not in extensions:
        return Reply(550, "5.7.30", _NO_REQUIRETLS)
    limit = extensions.get("SIZE", "")
    if limit.isdigit() and 0 < int(limit) < message.size:
        return Reply(552, "5.3.4", f"the message has {message.size} octets; the next host takes {limit}")
    utf8_header = envelope.smtputf8 and not message.header.isascii()
    utf8 = "SMTPUTF8" in extensions and (utf8_header or _needs_utf8(envelope, recipients))
    if utf8_header and not utf8:
        return Reply(550, "5.6.9", _NO_UTF8_HEADER)
    sender = envelope.sender if utf8 or envelope.sender is None else ascii_form(envelope.sender)
    if sender is None and envelope.sender is not None:
        return Reply(550, "5.6.7", _NO_UTF8_SENDER)
    body = _body(extensions, envelope, message)
    if isinstance(body, Reply):
        return body
    prepared.binary = body == "BINARYMIME"
    prepared.mail = _mail_argument(extensions, envelope, message, sender, body, utf8=utf8)
    for index, recipient in enumerate(recipients):
        argument = _rcpt_argument(extensions, recipient, utf8=utf8)
        if isinstance(argument, Reply):
            prepared.refused[index] = argument
        else:
            prepared.recipients[index] = argument
    if message.size <= SMALL:
        prepared.whole = b"".join(prepared.pieces(message))
    return None


def _needs_utf8(envelope: Envelope, recipients: Sequence[Recipient]) -> bool:
    sender = envelope.sender
    if sender is not None and not sender.is_ascii:
        return True
    return any(not recipient.address.is_ascii for recipient in recipients)


def _body(extensions: Mapping[str, str], envelope: Envelope, message: Message) -> str | Reply:
    """The value of BODY= (RFC 6152, RFC 3030), or why the hop cannot take the message."""
    if envelope.body == "BINARYMIME":
        if "BINARYMIME" in extensions and "CHUNKING" in extensions:
            return "BINARYMIME"
        return Reply(550, "5.6.3", _NO_BINARY)
    if "8BITMIME" not in extensions:
        return "" if _is_seven_bit(message) else Reply(550, "5.6.3", _NO_8BIT)
    if message.size > SMALL:
        return "8BITMIME" if envelope.body == "8BITMIME" else ""  # what was declared; a scan costs more than it tells
    return "" if _is_seven_bit(message) else "8BITMIME"


def _is_seven_bit(message: Message) -> bool:
    return all(chunk.isascii() for chunk in message.chunks())


def _mail_argument(
    extensions: Mapping[str, str],
    envelope: Envelope,
    message: Message,
    sender: Address | None,
    body: str,
    *,
    utf8: bool,
) -> str:
    words = [f"FROM:{format_path(sender)}"]
    if "SIZE" in extensions:
        words.append(f"SIZE={message.size}")
    if body:
        words.append(f"BODY={body}")
    if utf8:
        words.append("SMTPUTF8")
    if envelope.require_tls:
        words.append("REQUIRETLS")
    if "DSN" in extensions:
        if envelope.ret:
            words.append(f"RET={envelope.ret}")
        if envelope.envid:
            words.append(f"ENVID={xtext_encode(envelope.envid)}")
    return " ".join(words)


def _rcpt_argument(extensions: Mapping[str, str], recipient: Recipient, *, utf8: bool) -> str | Reply:
    address = recipient.address if utf8 else ascii_form(recipient.address)
    if address is None:
        return Reply(553, "5.6.7", _NO_UTF8_RECIPIENT)
    argument = f"TO:{format_path(address)}"
    if "DSN" not in extensions:
        return argument
    if recipient.notify:
        argument += f" NOTIFY={','.join(sorted(recipient.notify))}"
    if recipient.orcpt:
        try:
            argument += f" ORCPT={format_orcpt(recipient.orcpt, smtputf8=utf8)}"
        except GrammarError as error:
            return Reply(554, "5.5.4", f"the original recipient cannot be sent: {error}")
    return argument


def ascii_form(address: Address) -> Address | None:
    """The address for a host without SMTPUTF8: the domain as A-labels (RFC 5890). None if the local part needs it."""
    if address.is_ascii:
        return address
    if not address.local.isascii():
        return None
    try:
        return Address(address.local, to_ascii(address.domain))
    except AddressError:
        return None
