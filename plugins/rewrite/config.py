"""The settings of address rewriting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from appliance.config import setting
from appliance.document import dotted
from appliance.errors import AddressError, Problem
from appliance.mail.address import Address, domain_key, normal_domain
from plugins.rewrite.protocol import AddressMap

Where = Literal["envelope_sender", "envelope_recipient", "header_sender", "header_recipient"]
SENDER: tuple[Where, ...] = ("envelope_sender", "header_sender")
RECIPIENT: tuple[Where, ...] = ("envelope_recipient", "header_recipient")
FORMS = 'Write it like "ana@office.test" = "ana.garcia@example.org", or "@office.test" = "@example.org".'


@dataclass(frozen=True, kw_only=True, slots=True)
class RewriteConfig:
    """[rewrite]"""

    sender: dict[str, str] = setting({}, "Senders of our own mail that become others, in envelope and header.")
    recipient: dict[str, str] = setting({}, "Recipients that become others; in the header of our own mail too.")
    canonical: dict[str, str] = setting({}, "Both at once, after these.")
    classes: tuple[Where, ...] = setting((*SENDER, *RECIPIENT), "Where canonical is looked up.")
    masquerade: tuple[str, ...] = setting(
        (),
        'Domains that hide the names of machines below them in our own mail; "!lab.office.test" keeps what is there.',
    )
    masquerade_exceptions: tuple[str, ...] = setting((), 'Local parts that show their machine, as in ["root"].')
    masquerade_classes: tuple[Where, ...] = setting((*SENDER, "header_recipient"), "Where masquerade works.")
    outgoing: dict[str, str] = setting(
        {}, "Addresses of our own mail that become others only as it leaves for other systems, in envelope and header."
    )
    separator: str = setting("+", "What stands behind it in a local part goes along; as in [mda].")

    def problems(self) -> Iterator[Problem]:
        """Addresses that are none or not plain, and maps that would not come to an end."""
        for name in ("sender", "recipient", "canonical", "outgoing"):
            entries = getattr(self, name)
            sound = True
            for given, new in entries.items():
                for problem in _entry_problems(dotted(name, given), given, new):
                    sound = False
                    yield problem
            if sound:
                yield from _twice(name, entries, self.separator)
        for domain in self.masquerade:
            try:
                normal_domain(domain.removeprefix("!"))
            except AddressError as error:
                remedy = 'Write it like "office.test" or "!lab.office.test".'
                yield Problem("masquerade", f"{domain!r} is no domain: {error}.", remedy)
        yield from self._never_reached()

    def _never_reached(self) -> Iterator[Problem]:
        keys = [one.removeprefix("!").lower() for one in self.masquerade]
        for place, key in enumerate(keys):
            if above := next((one for one in keys[:place] if key == one or key.endswith(f".{one}")), None):
                text = f"{self.masquerade[place]!r} would never count: {above!r} before it decides."
                yield Problem(dotted("masquerade", place), text, "Put the longer domain first.")


def _entry_problems(name: str, given: str, new: str) -> Iterator[Problem]:
    whole = given.startswith("@")
    for text in (given, new):
        try:
            found = normal_domain(text[1:]) if whole and text.startswith("@") else str(Address.parse(text))
        except AddressError as error:
            kind = "domain" if whole and text.startswith("@") else "address"
            yield Problem(name, f"{text!r} is no {kind}: {error}.", FORMS)
            return
        if text == new and not found.isascii():
            yield Problem(
                name, f"{new!r} is not ASCII, which not every message may have.", "Write xn--… for the domain."
            )
    if whole and not new.startswith("@"):
        yield Problem(name, f"a whole domain cannot become the address {new!r}.", FORMS)


def _twice(name: str, entries: Mapping[str, str], separator: str) -> Iterator[Problem]:
    """What would be rewritten again: in a header it would not, and in an envelope it might never end."""
    found = AddressMap.of(entries, separator)
    for given, new in entries.items():
        one = Address("somebody", normal_domain(new[1:])) if new.startswith("@") else Address.parse(new)
        if new.startswith("@"):
            again = domain_key(one.domain) in found.domains
        else:
            again = found.find(one) is not None
        if again:
            yield Problem(dotted(name, given), f"{new!r} is rewritten itself.", "Name what it becomes in the end.")
