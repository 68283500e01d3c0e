"""What an address becomes, and how addresses in header fields are put in others' place. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from appliance.errors import AddressError
from appliance.mail.address import MAX_LOCAL, Address, domain_key, normal_domain
from appliance.mail.addresslist import address_spans
from appliance.mail.message import Message

Change = Callable[[Address], Address | None]

MAX_LINE = 998  # octets without the line end (RFC 5322 section 2.1.1)

# As Postfix groups them for its canonical_classes; fields of earlier systems (Received, Return-Path) stay.
SENDER_FIELDS = frozenset(
    {
        b"from", b"sender", b"reply-to", b"errors-to", b"return-receipt-to", b"disposition-notification-to",
        b"resent-from", b"resent-sender", b"resent-reply-to",
    }
)  # fmt: skip
RECIPIENT_FIELDS = frozenset({b"to", b"cc", b"bcc", b"resent-to", b"resent-cc", b"resent-bcc"})


@dataclass(frozen=True, slots=True)
class AddressMap:
    """Addresses that become others: single ones, and whole domains, of which the local part stays."""

    addresses: Mapping[str, Address]
    domains: Mapping[str, str]
    separator: str = ""  # what stands behind it in a local part goes along

    @classmethod
    def of(cls, entries: Mapping[str, str], separator: str) -> AddressMap:
        """Read the entries of a setting. Raises AddressError."""
        addresses: dict[str, Address] = {}
        domains: dict[str, str] = {}
        for given, new in entries.items():
            if given.startswith("@"):
                domains[domain_key(normal_domain(given[1:]))] = normal_domain(new.removeprefix("@"))
            else:
                addresses[Address.parse(given).key] = Address.parse(new)
        return cls(addresses, domains, separator)

    def __bool__(self) -> bool:
        return bool(self.addresses or self.domains)

    def find(self, address: Address) -> Address | None:
        """What the address becomes, or None if it stays: looked up whole, then without its detail, then its domain."""
        found = self.addresses.get(address.key)
        if found is not None:
            return _other(found, address)
        base, separator, detail = address.local.partition(self.separator) if self.separator else ("", "", "")
        if base and separator and (found := self.addresses.get(Address(base, address.domain).key)) is not None:
            return _other(Address(f"{found.local}{separator}{detail}", found.domain), address)
        domain = self.domains.get(domain_key(address.domain)) if self.domains else None
        return _other(Address(address.local, domain), address) if domain is not None else None


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Domains that stand for all below them, but for those excepted; the first that matches decides."""

    domains: Sequence[tuple[str, bool]]  # key, and whether what is below it is hidden
    exceptions: frozenset[str]  # local parts in lower case that stay

    @classmethod
    def of(cls, domains: Sequence[str], exceptions: Sequence[str]) -> Masquerade:
        """Read the settings; a domain behind `!` keeps what is below it. Raises AddressError."""
        rules = [(domain_key(normal_domain(one.removeprefix("!"))), not one.startswith("!")) for one in domains]
        return cls(rules, frozenset(one.lower() for one in exceptions))

    def find(self, address: Address) -> Address | None:
        """What the address becomes, or None if it stays."""
        if address.local.lower() in self.exceptions:
            return None
        key = domain_key(address.domain)
        for domain, hidden in self.domains:
            if key == domain:
                return None
            if key.endswith(f".{domain}"):
                return Address(address.local, domain) if hidden else None
        return None


def chain(*steps: Change) -> Change:
    """One change after the other; None if nothing changes."""

    def change(address: Address) -> Address | None:
        found = address
        for step in steps:
            found = step(found) or found
        return _other(found, address)

    return change


def rewrite_header(message: Message, changes: Mapping[bytes, Change]) -> Message:
    """The message with the addresses of some fields, by lower-case name, changed. All other octets stay as they are.

    A field that would get a line beyond MAX_LINE stays whole.
    """
    edits: list[tuple[int, int, bytes]] = []
    for field in message.fields():
        change = changes.get(field.name)
        if change is None:
            continue
        raw = message.header[field.start : field.end]
        colon = raw.index(b":") + 1
        found = [(field.start + colon + s, field.start + colon + e, new) for s, e, new in _edits(raw[colon:], change)]
        if found and not _too_long(message.header, field.start, field.end, found):
            edits += found
    return message.edited(edits) if edits else message


def _edits(value: bytes, change: Change) -> Iterator[tuple[int, int, bytes]]:
    for start, end in address_spans(value):
        try:
            address = Address.parse(value[start:end].decode())
        except (AddressError, UnicodeDecodeError):
            continue  # not what SMTP would take for an address: not ours to touch
        new = change(address)
        if new is not None:
            yield start, end, str(new).encode()


def _too_long(header: bytes, start: int, end: int, edits: Sequence[tuple[int, int, bytes]]) -> bool:
    pieces, position = [], start
    for edit_start, edit_end, octets in edits:
        pieces += [header[position:edit_start], octets]
        position = edit_end
    made = b"".join([*pieces, header[position:end]])
    return any(len(line) > MAX_LINE for line in made.split(b"\r\n"))


def _other(new: Address, old: Address) -> Address | None:
    """The new address if it is another one, and can be one: a detail may have made it too long."""
    return new if new != old and len(new.local.encode()) <= MAX_LOCAL else None
