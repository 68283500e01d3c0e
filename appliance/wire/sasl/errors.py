"""What can go wrong in an exchange of SASL messages."""

from __future__ import annotations

from appliance.errors import ApplianceError


class SaslError(ApplianceError):
    """The peer's SASL message breaks the grammar or the order of its mechanism. The text may be shown to it."""


class SaslAbortedError(SaslError):
    """The peer gave the exchange up with `*` (RFC 4954 section 4, RFC 3501 section 6.2.2, RFC 5034 section 4)."""


class SaslServerError(SaslError):
    """The server did not prove that it knows the password, or answered out of order: the login must not be trusted."""
