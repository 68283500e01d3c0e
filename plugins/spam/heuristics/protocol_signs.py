"""What several rules ask of a message: pure, and linear in time."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from plugins.spam.heuristics.protocol_facts import Facts, Link

MAX_WORDS_SEEN = 400  # words of a text that are looked at one by one
_FROM = re.compile(r"from\s{1,4}+([^\s;()]{1,255}+)\s{0,4}+\(?([^;\n]{0,300}+)")


def domain(address: str) -> str:
    return address.rpartition("@")[2]


def akin(one: str, other: str) -> bool:
    """Whether two domains belong together as far as their last two labels tell."""
    return one.split(".")[-2:] == other.split(".")[-2:]


def hops(mail: Facts) -> list[re.Match[str]]:
    """The servers on its way, the last first: what each called itself, and what is known of it."""
    if mail.hops is None:
        mail.hops = [found for value in mail.received if (found := _FROM.match(value)) is not None]
    return mail.hops


def link_where(mail: Facts, fits: Callable[[Link], object]) -> str:
    return next((one.url for one in mail.links if fits(one)), "")


_SHOWN_HOST = re.compile(r"(?:https?://)?((?>(?:[a-z0-9-]{1,63}+\.){1,6})[a-z]{2,12}+)(?:[/:?]|$)")


def is_mismatch(link: Link) -> bool:
    """Whether what is shown is the name of a host, and of another one."""
    if link.scheme not in ("http", "https") or not link.shown:
        return False
    found = _SHOWN_HOST.match(link.shown.lower())
    return found is not None and link.host != "" and not akin(found[1], link.host)


def readable(host: str) -> str:
    if "xn--" not in host:
        return host
    try:
        return host.encode("ascii").decode("idna")
    except UnicodeError:
        return host


_FOREIGN = re.compile("[\u0370-\u058f\u13a0-\u13ff\uff21-\uff5a\U0001d400-\U0001d7ff]")
_ALIKE = frozenset(("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "MATHEMATICAL", "FULLWIDTH"))
_WORDS = re.compile(r"[^\W\d_]{3,40}+")


def mixed(words: str) -> str:
    """The first word whose letters are of Latin and of an alphabet that looks like it."""
    if words.isascii() or not _FOREIGN.search(words):
        return ""
    found: list[str] = _WORDS.findall(words[:8000])
    for word in found[: 2 * MAX_WORDS_SEEN]:
        if not word.isascii():
            scripts = {unicodedata.name(char, "").partition(" ")[0] for char in word}
            if "LATIN" in scripts and scripts & _ALIKE:
                return word
    return ""


def is_noise(word: str) -> bool:
    """Whether a word of Latin letters has a run of consonants, or of letters and digits, that no language has."""
    if not 6 <= len(word) <= 40 or not word.isascii() or not word.isalnum():
        return False
    lower = word.lower()
    return bool(re.search(r"[bcdfghjklmnpqrstvwxz]{6}", lower) or re.search(r"(?:[a-z]{1,3}\d{1,3}){3}", lower))
