"""Who gets mail here, as a server tells those before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownRecipient:
    """One address that gets mail: its key (`Address.key`), or "@" and a domain for every address of that domain.

    With a `detail` separator the address with any detail behind it does so too: `ana+lists@` with "+".
    """

    address: str
    detail: str = ""
