"""The flags that every message can have (RFC 3501 section 2.3.2). Others are keywords, made up by clients."""

from __future__ import annotations

SYSTEM_FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")  # bit 0 to bit 4 of a message's flags
SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = (1 << bit for bit in range(5))
