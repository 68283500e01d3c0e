"""Authentication-Results: ours written once, those that only claim to be ours removed (RFC 8601)."""

from __future__ import annotations

from collections.abc import Iterable

from appliance.mail.headers import Field, strip_comments, unfold
from appliance.mail.message import Message

_RESULTS = b"authentication-results"
# What programs of our readers file by, or show as checked by us.
_OURS_ALONE = frozenset((b"x-spam-flag", b"x-spam-status", b"bimi-location", b"bimi-indicator"))
_MAX_CLAUSES = 30


def authentication_results(authserv_id: str, clauses: Iterable[str]) -> bytes:
    """The field (section 2.2), with a line for each clause; "none" without any."""
    said = [clause for clause in clauses if clause][:_MAX_CLAUSES] or ["none"]
    text = f"Authentication-Results: {authserv_id};\r\n " + ";\r\n ".join(said) + "\r\n"
    return text.encode("utf-8", "replace")


def without_forged(message: Message, authserv_id: str) -> Message:
    """The message without results that a stranger wrote in our name (section 5), and without our verdicts."""
    name = authserv_id.lower().encode()
    forged = [field for field in message.fields() if _is_forged(field, name)]
    if not forged:
        return message
    kept, position = [], 0
    for field in forged:
        kept.append(message.header[position : field.start])
        position = field.end
    return Message(b"".join(kept) + message.header[position:], message.text)


def _is_forged(field: Field, authserv_id: bytes) -> bool:
    if field.name in _OURS_ALONE:
        return True
    if field.name != _RESULTS:
        return False
    said, _, _ = strip_comments(unfold(field.value)).partition(b";")
    words = said.split()
    return bool(words) and words[0].strip(b'"').lower() == authserv_id
