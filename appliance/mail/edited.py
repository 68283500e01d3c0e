"""What a plugin has made of a message and its envelope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message


@dataclass(frozen=True, slots=True)
class Edited:
    """The message, and the envelope that it goes on with. Without recipients it is taken and thrown away.

    `quarantine` says why the message is held until somebody has looked at it; empty lets it pass.
    """

    message: Message
    sender: Address | None
    recipients: Sequence[Recipient]
    quarantine: str = ""

    def envelope(self, given: Envelope) -> Envelope:
        """The envelope for whoever looks at the message next."""
        return replace(given, sender=self.sender, recipients=list(self.recipients))

    def after(self, earlier: Edited | None) -> Edited:
        """The edit of a message that `earlier` had made: an earlier quarantine lasts."""
        if earlier is None or not earlier.quarantine or self.quarantine:
            return self
        return replace(self, quarantine=earlier.quarantine)
