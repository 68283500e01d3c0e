"""A message that a plugin wants stored together with another one."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.mail.envelope import Envelope
from appliance.mail.message import Message


@dataclass(frozen=True, slots=True)
class Companion:
    """The message with an envelope of its own; its recipients may be anywhere, as those of our own mail."""

    message: Message
    envelope: Envelope
