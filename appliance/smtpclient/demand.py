"""Messages that demand secured ways (REQUIRETLS): which they are, and when they go back (RFC 8689)."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.mail.envelope import Envelope
from appliance.smtpclient.client import as_permanent
from appliance.smtpclient.hop import HopError


def demands_tls(envelope: Envelope) -> bool:
    """Whether the message must go by hosts that prove themselves and pass the demand on.

    Notices about such messages carry the demand where it is understood, and hold nothing of the text (section 5):
    that nobody hears of a failure would serve nobody.
    """
    return envelope.require_tls and envelope.sender is not None


def no_secured_way(failures: Sequence[HopError]) -> HopError:
    """What the failures of all hosts come to for such a message: the last one.

    It is for good where no host is a secured way (section 4.2.1). One that could not be reached may be one later.
    """
    last = failures[-1]
    if all(error.lacking or error.tls_failure for error in failures):
        return HopError(as_permanent(last.reply), peer=last.peer)
    return last
