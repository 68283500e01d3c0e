"""Names that stay with mailboxes, messages and conversations wherever they go (RFC 8474). Without I/O.

A message is its filing: copies share it, whatever mailbox they are in, and no id is given twice. A conversation is
named by the first message of it, which all the others quote: nothing has to be kept for that.
"""

from __future__ import annotations

import re
from hashlib import sha256

from appliance.mail.headers import scan_fields

THREAD_DIGITS = 32  # hexadecimal, of a digest

_MESSAGE_ID = re.compile(rb"<[^<>\s]+>")


def mailbox_id(number: int) -> str:
    """The MAILBOXID of a mailbox: it survives RENAME, and is not given again."""
    return f"M{number}"


def email_id(filing_id: int) -> bytes:
    """The EMAILID of a message."""
    return b"E%d" % filing_id


def email_number(name: bytes) -> int | None:
    """The filing that an EMAILID stands for, None if it is none of ours."""
    digits = name[1:]
    return int(digits) if name[:1] == b"E" and digits.isdigit() and len(digits) < 20 else None


def thread_id(header: bytes, filing_id: int) -> bytes:
    """The THREADID of a message: by the first of its References, else In-Reply-To, else its own Message-ID.

    One that has none of these is a conversation of its own.
    """
    found: dict[bytes, bytes] = {}
    for field in scan_fields(header):
        if field.name in {b"references", b"in-reply-to", b"message-id"} and field.name not in found:
            match = _MESSAGE_ID.search(field.value)
            if match:
                found[field.name] = match[0]
    for name in (b"references", b"in-reply-to", b"message-id"):
        if name in found:
            return b"T" + sha256(found[name]).hexdigest()[:THREAD_DIGITS].encode()
    return b"T" + email_id(filing_id)
