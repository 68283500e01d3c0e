"""What one message asks of a hop, and whether the hop's extensions allow it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from appliance.errors import AddressError, MessageError
from appliance.mail.address import Address
from appliance.mail.envelope import (
    NO_AUTHOR,
    NOTIFY_DELAY,
    NOTIFY_FAILURE,
    NOTIFY_NEVER,
    Envelope,
    Recipient,
)
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.recode import Target, signing_domains
from appliance.mail.reply import Reply
from appliance.wire.smtp import GrammarError, format_orcpt, format_path, xtext_encode
from appliance.wire.smtp_client import END_OF_TEXT, checked, stuffed

MAX_BY = 999_999_999  # seconds in BY=, RFC 2852 section 4
SMALL = 128 << 10  # octets; up to here a message is prepared as one piece before anything is sent

_NO_REQUIRETLS = "the message requires TLS on its whole way, and the next host does not see to that (REQUIRETLS)"
_NO_BINARY = "the next host takes no binary messages (BINARYMIME), and this one cannot be converted"
_NO_8BIT = "the next host takes no 8-bit messages (8BITMIME), and this one cannot be converted"
_NO_DELIVERBY = "the message is to be returned unless it is delivered in time, and the next host does not promise that"
_LATE = "the time by which the message was to be delivered has passed"
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
    whole: bytes = b""  # the text as it goes over the wire, with the line that ends it after DATA, if it is SMALL

    def pieces(self, message: Message) -> Iterator[bytes]:
        """The text as it goes over the wire, piece by piece. Raises MessageError at a bare CR or LF."""
        chunks = message.chunks()
        if self.binary:
            return chunks
        return checked(chunks) if self.chunking else stuffed(chunks)


def conversion(extensions: Mapping[str, str], envelope: Envelope, message: Message) -> Target | None:
    """What the message must be made before the hop can take it (RFC 6152 section 3, RFC 3030 section 3)."""
    if envelope.body == "BINARYMIME":
        if "BINARYMIME" in extensions and "CHUNKING" in extensions:
            return None
        return "8bit" if "8BITMIME" in extensions else "7bit"
    return None if "8BITMIME" in extensions or _is_seven_bit(message) else "7bit"


def conversion_note(target: Target, message: Message) -> str:
    """What the trace says of a message that was converted: a signature over its body does not survive that."""
    signed = signing_domains(message)
    broken = f", which breaks the DKIM signature of {', '.join(signed)}" if signed else ""
    return f"converted to {target} for a host without {'BINARYMIME' if target == '8bit' else '8BITMIME'}{broken}"


def prepare(
    extensions: Mapping[str, str],
    envelope: Envelope,
    recipients: Sequence[Recipient],
    message: Message,
    *,
    now: float = 0.0,
    authenticated: bool = False,
    trouble: str = "",
) -> Prepared:
    """Make the commands for a message, or note why it cannot be sent, for all recipients or for some.

    `now` is in epoch seconds, needed where the envelope names a time; `authenticated` whether we have logged in;
    `trouble` says why the message could not be converted.
    """
    prepared = Prepared(chunking="CHUNKING" in extensions)
    try:
        terms = _Terms(extensions, envelope, now, authenticated=authenticated, trouble=trouble)
        refusal = _prepare(prepared, terms, recipients, message)
    except MessageError as error:
        refusal = Reply(554, "5.6.0", f"the message cannot be sent: {error}")
    except GrammarError as error:
        refusal = Reply(554, "5.5.4", f"the envelope cannot be sent: {error}")
    if refusal is not None:
        prepared.refused = dict.fromkeys(range(len(recipients)), refusal)
        prepared.recipients.clear()
    return prepared


@dataclass(slots=True)  # never changed; to freeze it would make it three times as dear
class _Terms:
    """What the commands are made of besides recipients and message."""

    extensions: Mapping[str, str]
    envelope: Envelope
    now: float
    authenticated: bool
    trouble: str

    @property
    def by_time_s(self) -> int:
        """Seconds that are left until the time by which the message is to be delivered; negative after it."""
        return round(self.envelope.deliver_by - self.now)

    @property
    def asks_for_delays(self) -> bool:
        """Whether the next hop is to tell the sender of delays, since it does not know the time (RFC 2852 4.1.4.2)."""
        by = self.envelope.deliver_by
        return bool(by) and "DELIVERBY" not in self.extensions and self.by_time_s > 0


def _prepare(prepared: Prepared, terms: _Terms, recipients: Sequence[Recipient], message: Message) -> Reply | None:
    extensions, envelope = terms.extensions, terms.envelope
    if (late := _too_late(terms)) is not None:
        return late
    # A notice that cannot be sent as its message was is better sent than lost (RFC 8689 section 5).
    if envelope.require_tls and "REQUIRETLS" not in extensions and envelope.sender is not None:
        return Reply(550, "5.7.30", _NO_REQUIRETLS)
    limit = extensions.get("SIZE", "")
    if limit.isdigit() and 0 < int(limit) < message.size:
        return Reply(552, "5.3.4", f"the message has {message.size} octets; the next host takes {limit}")
    utf8_header = envelope.smtputf8 and not _headers_are_ascii(message)
    utf8 = "SMTPUTF8" in extensions and (utf8_header or _needs_utf8(envelope, recipients))
    if utf8_header and not utf8:
        return Reply(550, "5.6.9", _NO_UTF8_HEADER)
    sender = envelope.sender if utf8 or envelope.sender is None else ascii_form(envelope.sender)
    if sender is None and envelope.sender is not None:
        return Reply(550, "5.6.7", _NO_UTF8_SENDER)
    body = _body(terms, message)
    if isinstance(body, Reply):
        return body
    prepared.binary = body == "BINARYMIME"
    prepared.mail = _mail_argument(terms, message, sender, body, utf8=utf8)
    for index, recipient in enumerate(recipients):
        argument = _rcpt_argument(terms, recipient, utf8=utf8)
        if isinstance(argument, Reply):
            prepared.refused[index] = argument
        else:
            prepared.recipients[index] = argument
    if message.size <= SMALL:
        prepared.whole = b"".join([*prepared.pieces(message), *([] if prepared.chunking else [END_OF_TEXT])])
    return None


def _needs_utf8(envelope: Envelope, recipients: Sequence[Recipient]) -> bool:
    sender = envelope.sender
    if sender is not None and not sender.is_ascii:
        return True
    return any(not recipient.address.is_ascii for recipient in recipients)


def _headers_are_ascii(message: Message) -> bool:
    """Whether the header and, in a message that is not ASCII, those of all its parts are (RFC 6532 section 3)."""
    if not message.header.isascii():
        return False
    if _is_seven_bit(message):
        return True
    text = message.text
    return all(bytes(text[part.header_start : part.body_start]).isascii() for part in message.structure.walk())


def _too_late(terms: _Terms) -> Reply | None:
    """Why a message that is to come back when it is late cannot go this way (RFC 2852 section 4.1.4.1)."""
    if not terms.envelope.deliver_by or "R" not in terms.envelope.by_mode:
        return None
    if terms.by_time_s <= 0:
        return Reply(550, "5.4.7", _LATE)
    least = terms.extensions.get("DELIVERBY")
    if least is None or (least.isdigit() and int(least) > terms.by_time_s):
        return Reply(550, "5.3.3", _NO_DELIVERBY)
    return None


def _body(terms: _Terms, message: Message) -> str | Reply:
    """The value of BODY= (RFC 6152, RFC 3030), or why the hop cannot take the message."""
    extensions, envelope = terms.extensions, terms.envelope
    if envelope.body == "BINARYMIME":
        return Reply(550, "5.6.3", f"{_NO_BINARY}: {terms.trouble}") if terms.trouble else "BINARYMIME"
    if "8BITMIME" not in extensions:
        return Reply(550, "5.6.3", f"{_NO_8BIT}: {terms.trouble}") if terms.trouble else ""
    if message.size > SMALL:
        return "8BITMIME" if envelope.body == "8BITMIME" else ""  # what was declared; a scan costs more than it tells
    return "" if _is_seven_bit(message) else "8BITMIME"


def _is_seven_bit(message: Message) -> bool:
    return all(chunk.isascii() for chunk in message.chunks())


def _mail_argument(terms: _Terms, message: Message, sender: Address | None, body: str, *, utf8: bool) -> str:
    extensions, envelope = terms.extensions, terms.envelope
    words = [f"FROM:{format_path(sender)}"]
    if "SIZE" in extensions:
        words.append(f"SIZE={message.size}")
    if body:
        words.append(f"BODY={body}")
    if utf8:
        words.append("SMTPUTF8")
    if envelope.require_tls and "REQUIRETLS" in extensions:
        words.append("REQUIRETLS")
    if envelope.deliver_by and "DELIVERBY" in extensions:
        words.append(f"BY={max(-MAX_BY, min(terms.by_time_s, MAX_BY))};{envelope.by_mode}")
    if "MT-PRIORITY" in extensions:
        words.append(f"MT-PRIORITY={envelope.priority}")  # RFC 6710 section 4.2: that of every message, 0 too
    if terms.authenticated and "AUTH" in extensions:
        # RFC 4954 section 5: where nobody is known as the author, that has to be said.
        known = envelope.auth and envelope.auth != NO_AUTHOR and envelope.auth.isascii()
        words.append(f"AUTH={xtext_encode(envelope.auth) if known else NO_AUTHOR}")
    if "DSN" in extensions:
        if envelope.ret:
            words.append(f"RET={envelope.ret}")
        if envelope.envid:
            words.append(f"ENVID={xtext_encode(envelope.envid)}")
    return " ".join(words)


def _rcpt_argument(terms: _Terms, recipient: Recipient, *, utf8: bool) -> str | Reply:
    address = recipient.address if utf8 else ascii_form(recipient.address)
    if address is None:
        return Reply(553, "5.6.7", _NO_UTF8_RECIPIENT)
    argument = f"TO:{format_path(address)}"
    if "DSN" not in terms.extensions:
        return argument
    notify = recipient.notify
    if terms.asks_for_delays and NOTIFY_NEVER not in notify:
        notify = (notify or frozenset({NOTIFY_FAILURE})) | {NOTIFY_DELAY}
    if notify:
        argument += f" NOTIFY={','.join(sorted(notify))}"
    if recipient.orcpt:
        try:
            argument += f" ORCPT={format_orcpt(recipient.orcpt, smtputf8=utf8)}"
        except GrammarError as error:
            return Reply(554, "5.5.4", f"the original recipient cannot be sent: {error}")
    return argument


def call_out_arguments(extensions: Mapping[str, str], recipient: Recipient) -> tuple[str, str] | None:
    """The arguments of MAIL and RCPT that ask about a recipient with the null sender; None if it has no ASCII form."""
    if recipient.address.is_ascii or "SMTPUTF8" not in extensions:
        address = ascii_form(recipient.address)
        return None if address is None else ("FROM:<>", f"TO:{format_path(address)}")
    return "FROM:<> SMTPUTF8", f"TO:{format_path(recipient.address)}"


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
