"""Senders that claim to be ours: mail of strangers in the name of nobody here, or in anybody's name at all."""

from __future__ import annotations

from appliance.core import Core
from appliance.dispatch import HookFailedError
from appliance.hookspecs import hookimpl
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from plugins.door.config import DoorConfig
from plugins.door.door import STASH, UNKNOWN_RECIPIENT

NOBODY = Reply(550, "5.1.0", "The sender is of a domain of ours, and there is no such address here")
LOG_IN = Reply(550, "5.7.1", "Log in to send in the name of this domain")


class Senders:
    """Looks at MAIL FROM of strangers. Whoever has logged in is judged by the SMTP role's `sender_check`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @hookimpl
    async def smtp_sender(self, session: Session, envelope: Envelope) -> Reply | None:
        """Refuse by the settings `own_senders` and `unknown_own_senders`."""
        sender, config = envelope.sender, self._core.settings[DoorConfig]
        if STASH not in session.stash or session.account is not None or sender is None:
            return None  # it is none of a stranger
        if config.own_senders == config.unknown_own_senders == "accept":
            return None
        try:
            ours = await self._core.dispatch.own_recipient(recipient=Recipient(sender)) == "local"
            if not ours:
                return None
            if config.own_senders == "refuse":
                return LOG_IN
            return None if await self._exists(sender) else NOBODY
        except HookFailedError as error:
            return error.reply

    async def _exists(self, sender: Address) -> bool:
        """Whether mail to that address would go anywhere."""
        own = Session(id="", role="local")
        answer = await self._core.intake.router.resolve(own, Envelope(None), Recipient(sender))
        return not (isinstance(answer, Reply) and answer.enhanced == UNKNOWN_RECIPIENT)
