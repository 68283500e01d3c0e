"""Why a command is not carried out, in the words and codes of the wire (RFC 3501 section 7.1, RFC 5530)."""

from __future__ import annotations

from typing import Literal

from appliance.errors import (
    ApplianceError,
    ExistsError,
    ForbiddenError,
    MessageError,
    NotFoundError,
    QuotaError,
    StoreError,
    StoreFullError,
)
from plugins.imap4.protocol_parse import GrammarError
from plugins.imap4.protocol_respond import tagged


class RefusalError(ApplianceError):
    """The command is answered NO (or BAD) with this text and code; the session goes on."""

    def __init__(self, text: str, code: str = "", status: Literal["NO", "BAD"] = "NO") -> None:
        super().__init__(text)
        self.code = code
        self.status = status


# The first that fits; every class stands before those it is derived from.
_CODES: tuple[tuple[type[ApplianceError], str, str], ...] = (
    (QuotaError, "OVERQUOTA", ""),
    (StoreFullError, "UNAVAILABLE", "The disk is full; nothing can be stored now"),
    (NotFoundError, "NONEXISTENT", ""),
    (ForbiddenError, "NOPERM", ""),
    (ExistsError, "ALREADYEXISTS", ""),
    (MessageError, "CANNOT", ""),
)


def refusal_line(tag: bytes, error: ApplianceError) -> bytes | None:
    """The tagged answer to a command that failed with `error`; None if it is no error of this kind.

    The store's own troubles are told in general words; the log has the rest.
    """
    if isinstance(error, RefusalError):
        return tagged(tag, error.status, str(error), error.code)
    if isinstance(error, GrammarError):
        return tagged(tag, "BAD", str(error))
    for kind, code, text in _CODES:
        if isinstance(error, kind):
            return tagged(tag, "NO", text or str(error), code)
    if isinstance(error, StoreError):
        return tagged(tag, "NO", str(error), "CANNOT")
    return None
