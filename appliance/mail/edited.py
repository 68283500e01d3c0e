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

    `quarantine` says why the message is held until somebody has looked at it; empty lets it pass. Before
    `release_at`, in epoch seconds, nobody gets it.
    """

    message: Message
    sender: Address | None
    recipients: Sequence[Recipient]
    quarantine: str = ""
    release_at: int = 0

    def envelope(self, given: Envelope) -> Envelope:
        """The envelope for whoever looks at the message next."""
        release_at = max(given.release_at, self.release_at)
        return replace(given, sender=self.sender, recipients=list(self.recipients), release_at=release_at)

    def after(self, earlier: Edited | None) -> Edited:
        """The edit of a message that `earlier` had made: an earlier quarantine lasts, and the longer wait."""
        if earlier is None:
            return self
        return replace(
            self,
            quarantine=self.quarantine or earlier.quarantine,
            release_at=max(self.release_at, earlier.release_at),
        )
