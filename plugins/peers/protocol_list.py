"""A list of recipients as it is kept outside of the server that has their mailboxes: hashes, no names. Pure.

Whoever takes a copy of the list from an outer server can test guesses with it, as with the server itself, but cannot
read it. A salt of the owner's keeps the hashes of two owners apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from appliance.mail.address import Address, domain_key
from appliance.mail.known import KnownRecipient

ENTRY_OCTETS = 16
SALT_OCTETS = 16
MAX_SEPARATORS = 8  # kinds of detail in one list


@dataclass(frozen=True, slots=True)
class RecipientList:
    """The recipients of one domain. Two lists with one `digest` are equal."""

    salt: bytes
    separators: str
    entries: frozenset[bytes]

    @classmethod
    def of(cls, known: Iterable[KnownRecipient], salt: bytes) -> RecipientList:
        """The list of what is known of one domain."""
        entries, separators = set(), set()
        for one in known:
            entries.add(entry(salt, one.address))
            if one.detail:
                separators.add(one.detail)
                local, _, domain = one.address.rpartition("@")
                entries.add(entry(salt, _detailed(local, one.detail, domain)))
        return cls(salt, "".join(sorted(separators)), frozenset(entries))

    @property
    def digest(self) -> bytes:
        """What tells this list from any other."""
        return digest(self.salt, self.separators, sorted(self.entries))


def entry(salt: bytes, text: str) -> bytes:
    """One recipient as it is kept."""
    return hashlib.blake2b(text.encode(), key=salt, digest_size=ENTRY_OCTETS).digest()


def digest(salt: bytes, separators: str, entries: Iterable[bytes]) -> bytes:
    """The digest of a list whose entries come in their order."""
    state = hashlib.blake2b(separators.encode(), key=salt, digest_size=ENTRY_OCTETS)
    for one in entries:
        state.update(one)
    return state.digest()


def candidates(salt: bytes, separators: str, address: Address) -> list[bytes]:
    """The entries of which any one, if it is in the list, says that the address gets mail."""
    key, domain = address.key, domain_key(address.domain)
    texts = [key, f"@{domain}"]
    local = key.rpartition("@")[0]
    for separator in separators:
        base, found, _ = local.partition(separator)
        if found and base:
            texts.append(_detailed(base, separator, domain))
    return [entry(salt, text) for text in texts]


def by_domain(known: Sequence[KnownRecipient], wanted: Callable[[str], bool]) -> dict[str, list[KnownRecipient]]:
    """What is known, by domain, of the domains that are wanted."""
    found: dict[str, list[KnownRecipient]] = {}
    for one in known:
        domain = one.address.rpartition("@")[2]
        if domain in found or wanted(domain):
            found.setdefault(domain, []).append(one)
    return found


def _detailed(local: str, separator: str, domain: str) -> str:
    return f"{local}{separator}\0@{domain}"  # NUL: no address can be that
