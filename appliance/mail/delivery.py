"""Routes, transports' answers, and the errors of delivery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from appliance.errors import ApplianceError
from appliance.mail.envelope import Recipient
from appliance.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Route:
    """Where one recipient's mail goes: the transport by name, its next hop, and a policy for that hop.

    Local recipients have transport `local` and the account's name as next hop.
    """

    transport: str
    next_hop: str = ""
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient in one attempt. `reply` is the peer's (or our own) answer, `peer` who gave it."""

    recipient: Recipient
    status: Literal["delivered", "deferred", "failed"]
    reply: Reply
    peer: str = ""  # "mx.example.com[192.0.2.1]:25"
    relayed_dsn: bool = False  # the next hop took over the DSN duties (RFC 3461 section 6.2)
    relayed_by: bool = False  # the next hop took over the wish for a time (RFC 2852 section 4.1.4)
    unreachable: bool = False  # no verdict on the recipient: the next hop as a whole could not be used
    final: bool = False  # by LMTP: the mailbox has it, and nobody passes it on
    note: str = ""  # what was done to the message for this hop, for the trace
    security: str = ""  # what protected the connection and why so, for the trace


class DeliveryError(ApplianceError):
    """One recipient was not delivered. The queue retries if `reply.temporary`, else bounces."""

    def __init__(self, reply: Reply, *, transport: str) -> None:
        super().__init__(f"{transport}: {reply.code} {reply.enhanced} {reply.reason or reply.text}")
        self.reply = reply
