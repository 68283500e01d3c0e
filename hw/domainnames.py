"""Lists of search domains in DNS wire form, as DHCP servers (RFC 3397) and IPv6 routers (RFC 8106) give them. Pure.

They were written by anybody on the link: nothing raises, nothing loops, and at the first name that is none it ends.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_DOMAINS = 8
"""Search domains taken from one answer or advertisement."""
MAX_NAME_OCTETS = 253
MAX_LABEL_OCTETS = 63  # RFC 1035 section 2.3.4
MAX_POINTERS = 16
"""Pointers that are followed in one name."""
_POINTER = 0xC0  # RFC 1035 section 4.1.4


def domain_names(data: bytes, *, pointers: bool) -> Iterator[str]:
    r"""The names of a list (RFC 1035 section 3.1), in lower case, with dots, without those of no label or too long.

    `pointers` tells whether a name may end with a pointer to an earlier place in `data`: RFC 3397 section 2 wants it,
    RFC 8106 section 5.2 forbids it. Octets that pad the list with zeros are passed over.

    >>> list(domain_names(b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04", pointers=True))
    ['eng.apple.com', 'marketing.apple.com']
    """
    place = 0
    while place < len(data):
        found = _name(data, place, MAX_POINTERS if pointers else 0)
        if found is None:
            return
        name, place = found
        if 0 < len(name) <= MAX_NAME_OCTETS:
            yield name


def _name(data: bytes, place: int, pointers: int) -> tuple[str, int] | None:
    """The name at a place and where the next one starts; None if it is broken."""
    labels: list[str] = []
    earliest, after = place, 0
    while place < len(data):
        length = data[place]
        if length == 0:
            return ".".join(labels), after or place + 1
        if length >= _POINTER and pointers and place + 1 < len(data):
            target = (length - _POINTER) << 8 | data[place + 1]
            if target >= earliest:  # only backwards, and each time further, so that nothing goes round in circles
                return None
            after = after or place + 2
            place = earliest = target
            pointers -= 1
            continue
        label = data[place + 1 : place + 1 + length]
        text = label.decode("ascii", "replace")
        if length > MAX_LABEL_OCTETS or len(label) < length or not text.replace("-", "").replace("_", "").isalnum():
            return None
        labels.append(text.lower())
        place += 1 + length
    return None
