"""A DomainKey-Signature, whose address it speaks for, and the octets that it signs (RFC 4870 section 3). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.errors import AddressError
from appliance.mail.address import normal_domain
from appliance.mail.addresslist import address_list
from appliance.mail.headers import Field, text_of
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from plugins.spam.dkim.protocol_canonical import simple_field
from plugins.spam.dkim.protocol_signature import MAX_FIELD, MAX_SIGNED, read_domain, read_selector
from plugins.spam.dkim.protocol_tags import TagError, names, octets, parse_tags, required

FIELD = b"domainkey-signature"
_BLANKS = b" \t"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature claims. Without `signed`, all fields below it are."""

    domain: str
    selector: str
    form: str  # simple or nofws
    value: bytes
    signed: tuple[str, ...] = ()

    @property
    def key_name(self) -> str:
        """Where the key is in DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True)
class SendingAddress:
    """Whom a message is from (section 2.2): Sender if it is there, else From. `domain` has A-labels."""

    field: str
    local: str
    domain: str


def read_signature(value: bytes) -> Signature:
    """Read the value of DomainKey-Signature (section 3.3). Raises TagError."""
    if len(value) > MAX_FIELD:
        raise TagError(f"more than {MAX_FIELD} octets")
    tags = parse_tags(text_of(value))
    if tags.get("a", "rsa-sha1").lower() != "rsa-sha1":
        raise TagError("a= is unknown")
    if tags.get("q", "dns").lower() != "dns":  # it must be there, and often is not
        raise TagError("q= is unknown")
    form = required(tags, "c").lower()
    if form not in {"simple", "nofws"}:
        raise TagError("c= is unknown")
    signed = tuple(name for name in names(tags.get("h", "")) if name)
    if len(signed) > MAX_SIGNED or not all(name.isascii() for name in signed):
        raise TagError("h= is no list of fields")
    return Signature(read_domain(tags), read_selector(tags), form, octets(tags, "b"), signed)


def sending_address(fields: Sequence[Field]) -> SendingAddress | None:
    """Whose signature it must be: fields are those below the signature."""
    for name in (b"sender", b"from"):
        field = next((one for one in fields if one.name == name), None)
        if field is None:
            continue
        for one in address_list(field.value):
            try:
                domain = to_ascii(normal_domain(text_of(one.domain or b"")))
            except AddressError:
                return None
            return SendingAddress(name.decode(), text_of(one.local or b""), domain)
        return None
    return None


def signed_octets(message: Message, fields: Sequence[Field], signature: Signature) -> bytes:
    """The header fields that were signed, the empty line and the text, in the signature's form (section 3.4.2)."""
    lines = [message.header[one.start : one.end] for one in _chosen(fields, signature.signed)]
    # The empty line counts as one of the text: with nothing behind it, it is left out as well.
    text = b"\r\n" + bytes(message.text)
    if signature.form == "nofws":
        lines = [line.translate(None, b" \t\r\n") + b"\r\n" for line in lines]
        text = text.translate(None, _BLANKS)
    else:
        lines = [simple_field(line) for line in lines]
    end = len(text)
    while text.endswith(b"\r\n", 0, end):
        end -= 2
    return b"".join(lines) + (text[:end] + b"\r\n" if end else b"")


def _chosen(fields: Sequence[Field], signed: Sequence[str]) -> list[Field]:
    """The fields in the order of h= (section 3.3): a name covers all of its fields, the lowest of them one each where
    it is written several times.
    """
    if not signed:
        return list(fields)
    left: dict[str, list[Field]] = {}
    for one in fields:
        left.setdefault(one.name.decode("latin-1"), []).append(one)
    chosen: list[Field] = []
    for at in range(len(signed) - 1, -1, -1):
        name = signed[at]
        same = left.get(name, [])
        count = 1 if name in signed[:at] else len(same)
        taken = same[len(same) - count :] if same else []
        left[name] = same[: len(same) - len(taken)]
        chosen[:0] = taken
    return chosen
