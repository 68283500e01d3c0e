"""The envelope of one transaction: sender, recipients and what was asked about notifications (RFC 3461)."""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.mail.address import Address

NO_AUTHOR = "<>"  # in AUTH=: who wrote it is not known, or not to be told
NOTIFY_NEVER = "NEVER"
NOTIFY_SUCCESS = "SUCCESS"
NOTIFY_FAILURE = "FAILURE"
NOTIFY_DELAY = "DELAY"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT TO. `notify` empty means the default of RFC 3461 section 4.1: failures and, by our choice, delays."""

    address: Address
    notify: frozenset[str] = frozenset()
    orcpt: str = ""  # `rfc822;user@example.com`, xtext decoded (RFC 3461 section 4.2)
    via: str = ""  # the address of ours that sent it on to this one (a redirect, an alias); empty if the sender did

    def wants(self, event: str) -> bool:
        """Whether a notification of `event` (SUCCESS, FAILURE, DELAY) is wanted."""
        if self.notify:
            return event in self.notify
        return event in {NOTIFY_FAILURE, NOTIFY_DELAY}


@dataclass(slots=True)
class Envelope:
    """Sender (None is the null sender `<>`), recipients, and the transaction's parameters."""

    sender: Address | None
    recipients: list[Recipient] = field(default_factory=list)
    ret: str = ""  # FULL, HDRS or empty (RFC 3461 section 4.3)
    envid: str = ""  # xtext decoded (section 4.4)
    body: str = "7BIT"  # 7BIT, 8BITMIME or BINARYMIME (RFC 6152, RFC 3030)
    smtputf8: bool = False  # RFC 6531
    size: int = 0  # octets announced by SIZE=, 0 if none (RFC 1870)
    auth: str = ""  # the AUTH= parameter, xtext decoded (RFC 4954 section 5)
    require_tls: bool = False  # REQUIRETLS (RFC 8689 section 3)
    tls_optional: bool = False  # the header says "TLS-Required: No" (RFC 8689 section 5)
    priority: int = 0  # MT-PRIORITY, -9 to 9, the higher the sooner (RFC 6710)
    release_at: int = 0  # epoch seconds before which the queue does not send it, 0: at once (RFC 4865)
    deliver_by: int = 0  # epoch seconds, 0: no such wish (RFC 2852)
    by_mode: str = ""  # R (give it back then) or N (tell the sender then), perhaps with T (RFC 2852 section 4)
