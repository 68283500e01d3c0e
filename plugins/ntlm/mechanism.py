"""The mechanism: one machine for each exchange."""

from __future__ import annotations

import secrets

from appliance.config import CoreConfig
from appliance.core import Core
from appliance.mail.session import Session
from appliance.wire.sasl.server import ServerMechanism
from plugins.ntlm.config import NtlmConfig
from plugins.ntlm.protocol_ntlm import CHALLENGE_OCTETS, NtlmServer


class Ntlm:
    """NTLM, for accounts that have opted in to weak mechanisms: it needs their password as it is."""

    name = "NTLM"
    weak = True

    def __init__(self, core: Core) -> None:
        self._core = core

    def machine(self, session: Session) -> ServerMechanism:
        """See `SaslMachine.machine`."""
        settings = self._core.settings
        challenge = secrets.token_bytes(CHALLENGE_OCTETS)
        return NtlmServer(challenge, host=settings[CoreConfig].hostname, domain=settings[NtlmConfig].domain)
