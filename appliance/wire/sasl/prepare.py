"""User names and passwords in one form, so that they compare equal however a keyboard made them.

The choice: SASLprep (RFC 4013), which RFC 4616 (PLAIN) and RFC 5802 (SCRAM) name, with the tables of the standard
library's `stringprep`. Code points that Unicode 3.2 did not know are let through in passwords both when they are
stored and when they are checked (RFC 3454 section 7 would refuse them in stored ones), since people do put
emoji into passwords; they are left as they are, which is stable. Names are then folded to lower case in NFC, the
form of account names.
"""

from __future__ import annotations

import stringprep
import unicodedata

MAX_LOGIN = 512  # octets of UTF-8: an address has at most 64 + 1 + 255
MAX_PASSWORD = 1024  # octets of UTF-8

_PROHIBITED = (  # RFC 4013 section 2.3
    stringprep.in_table_c12,  # non-ASCII spaces; the mapping has turned them into spaces, normalisation may not add any
    stringprep.in_table_c21_c22,  # control characters
    stringprep.in_table_c3,  # private use
    stringprep.in_table_c4,  # no characters
    stringprep.in_table_c5,  # surrogates
    stringprep.in_table_c6,  # unfit for plain text
    stringprep.in_table_c7,  # unfit for canonical representation
    stringprep.in_table_c8,  # change display, deprecated
    stringprep.in_table_c9,  # tagging
)


def saslprep(text: str) -> str:
    """Return `text` prepared by RFC 4013. Raises ValueError when it holds what the profile prohibits."""
    if text.isascii():
        if not text.isprintable():
            raise ValueError("control characters")
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    for char in prepared:
        if any(prohibited(char) for prohibited in _PROHIBITED):
            raise ValueError(f"prohibited character U+{ord(char):04X}")
    _check_bidi(prepared)
    return prepared


def prepare_login(text: str) -> str:
    """The form of a login name by which accounts are looked up: prepared, lower case, NFC.

    Raises ValueError when the name is empty, longer than MAX_LOGIN octets, or prohibited.
    """
    _check_length("login name", text, MAX_LOGIN)
    login = saslprep(text)
    if not login.isascii():
        login = unicodedata.normalize("NFC", login.lower())
    return _not_empty("login name", login.lower())


def prepare_password(text: str) -> str:
    """The form of a password that is hashed. Raises ValueError when it is empty, too long or prohibited."""
    _check_length("password", text, MAX_PASSWORD)
    return _not_empty("password", saslprep(text))


def _check_length(what: str, text: str, limit: int) -> None:
    if len(text) > limit or len(text.encode("utf-8", "replace")) > limit:
        raise ValueError(f"{what} longer than {limit} octets")


def _not_empty(what: str, text: str) -> str:
    if not text:
        raise ValueError(f"empty {what}")
    return text


def _check_bidi(text: str) -> None:
    """RFC 3454 section 6: right-to-left text holds no left-to-right letters and starts and ends right-to-left."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)) or not (
        stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    ):
        raise ValueError("mixed writing directions")
