"""The judge's lines on mail that a person has released. Pure."""

from __future__ import annotations

from appliance.mail.headers import scan_fields


def without_marks(header: bytes) -> bytes:
    """The lines without what mail programs file as spam by; which checks had spoken stays."""
    kept = []
    for field in scan_fields(header):
        line = header[field.start : field.end]
        if field.name == b"x-spam-flag":
            continue
        if field.name == b"x-spam-status" and field.value[:4].lower() == b"yes,":
            line = line.replace(field.value, b"No" + field.value[3:], 1)
        kept.append(line)
    return b"".join(kept)
