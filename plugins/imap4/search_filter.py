"""Which headers can match a search key at all: one look at many of them together. Without I/O.

To fold and decode each field takes most of the time of a search, and few messages match. So the headers are joined,
and only those are tested in which something stands that the key cannot do without.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from appliance.mail.text import search_form
from plugins.imap4.protocol_search import And, Header, Key, Or

_WORDS = re.compile(r"[a-z0-9]{3,}+")
_ENCODED = b"?"  # of an encoded word, which can stand for anything: one octet is found much faster than its two


def longest_word(form: str) -> bytes:
    """The longest run of ASCII letters and digits in a text's search form; empty if none of it is sure to stand there.

    Folding may part words from each other, but does not cut one. Characters beyond ASCII may fold into its letters.
    """
    return max(_WORDS.findall(form), key=len, default="").encode() if form.isascii() else b""


def needles(key: Key) -> frozenset[bytes]:
    """Octets of which at least one stands in the lower-case header of every match, unless that is not all ASCII.

    Nothing if there are none that are sure to.
    """
    match key:
        case Header():
            form = search_form(key.needle)
            if not form:
                return frozenset((key.field,))
            word = longest_word(form)
            if form.isascii() and not word:
                return frozenset()
            return frozenset((word, _ENCODED) if word else (_ENCODED,))
        case Or():
            first, second = needles(key.first), needles(key.second)
            return first | second if first and second else frozenset()
        case And():
            # Whichever is the rarest would do best; long octets are.
            return max(map(needles, key.keys), key=lambda found: min(map(len, found), default=0))
    return frozenset()


def may_match(headers: Sequence[bytes], wanted: frozenset[bytes]) -> list[int]:
    """The places of the headers that hold one of `wanted`, without case, or octets beyond ASCII; ascending."""
    joined = b"".join(headers).lower()
    starts = list(accumulate(map(len, headers), initial=0))
    found = set() if joined.isascii() else {place for place, header in enumerate(headers) if not header.isascii()}
    for needle in wanted:
        at = joined.find(needle)
        while at >= 0:
            place = bisect_right(starts, at) - 1
            found.add(place)
            at = joined.find(needle, starts[place + 1])
    return sorted(found)
