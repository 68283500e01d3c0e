"""Octets to text by the charset a message names. Never fails: what cannot be decoded is replaced or guessed."""

from __future__ import annotations

import re
from encodings.aliases import aliases
from functools import lru_cache

from appliance.mail.headers import text_of

# Python looks a codec up by importing a module of that name, and remembers every name that it did not find. The
# names come from strangers, so only those of known charsets are ever looked up. Codecs whose cost is not linear
# (punycode, idna) are not among them, and `bytes.decode` itself refuses those that are no charsets (hex, zlib).
_EXTRA = frozenset(("utf_8", "utf_8_sig", "utf_7", "cp1252", "cp874", "cp720", "cp737", "cp775", "cp856", "koi8_u"))
# What mail calls by a smaller charset's name is nearly always the larger one (WHATWG Encoding, section 4.2).
_LARGER = {
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "ks_c_5601_1989": "cp949",
    "x_sjis": "cp932",
    "x_gbk": "gb18030",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:()+-]{0,39}+")
_UNUSUAL = re.compile(r"[^a-z0-9]++")


def decode(octets: bytes, charset: str) -> str:
    """Decode `octets` by a charset's name. An unknown name or ASCII means UTF-8, and latin-1 if it is not that."""
    codec = _codec(charset) if _NAME.fullmatch(charset) else "utf_8"
    if codec == "utf_8":
        return text_of(octets)
    try:
        return octets.decode(codec, "replace")
    except (LookupError, UnicodeError):
        return text_of(octets)


@lru_cache(maxsize=128)
def _codec(charset: str) -> str:
    name = _UNUSUAL.sub("_", charset.lower()).strip("_")
    name = aliases.get(name, name)
    if name in _LARGER:
        return _LARGER[name]
    known = name in _EXTRA or name in aliases.values()
    return name if known else "utf_8"
