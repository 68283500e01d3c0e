"""The commands of ACL as they are written (RFC 4314 section 3). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.mail.rights import normal_rights
from plugins.imap4.protocol_parse import Cursor, GrammarError

MAX_IDENTIFIER = 400  # octets
MAX_RIGHTS = 100  # letters, repeated ones included


@dataclass(frozen=True, slots=True)
class RightsChange:
    """What SETACL does to an entry: give ("+"), take ("-") or replace (""); `rights` without `c` and `d`."""

    mode: str
    rights: str


def parse_identifier(cursor: Cursor) -> str:
    """Read an identifier: a name, `anyone`, or either with `-` in front."""
    octets = cursor.astring()
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise GrammarError("an identifier is UTF-8") from None
    if not text.removeprefix("-") or len(octets) > MAX_IDENTIFIER or not text.isprintable():
        raise GrammarError("an identifier is a name of 1 to 400 octets")
    return text


def parse_rights_change(cursor: Cursor) -> RightsChange:
    """Read `lrs`, `+w` or `-w`. A letter that is no right is an error (section 3.1)."""
    text = cursor.astring().decode("ascii", "replace")
    mode = text[:1] if text[:1] in {"+", "-"} else ""
    letters = text[len(mode) :]
    if len(letters) > MAX_RIGHTS:
        raise GrammarError("too many rights")
    try:
        return RightsChange(mode, normal_rights(letters))
    except ValueError:
        raise GrammarError("unknown right") from None
