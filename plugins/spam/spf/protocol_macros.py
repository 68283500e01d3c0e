"""Macros in domains and explanations (RFC 7208 section 7). The grammar was checked before; here they are expanded."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import quote

_MACRO = re.compile(r"%(?:\{([A-Za-z])(\d*)([rR]?)([.\-+,/_=]*)\}|([%_-]))")
_PLAIN = {"%": "%", "_": " ", "-": "%20"}
MAX_DOMAIN = 253  # octets of an expanded domain; labels on the left go first (section 7.3)

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace every macro. `values` are by lower-case letter; a capital means that the value is URL-escaped.

    A letter that is not among `values` gives "unknown".
    """
    return _MACRO.sub(lambda found: _value(found, values), text)


def expand_domain(text: str, values: Mapping[str, str]) -> str:
    """`expand`, cut to the length of a domain name from its left, without the final dot."""
    domain = expand(text, values).rstrip(".")
    while len(domain) > MAX_DOMAIN:
        _, dot, shorter = domain.partition(".")
        if not dot:
            return domain[-MAX_DOMAIN:]
        domain = shorter
    return domain


def uses(text: str, letter: str) -> bool:
    """Whether a macro of that lower-case letter stands in the text."""
    return any((found[1] or "").lower() == letter for found in _MACRO.finditer(text))


def dotted(ip: Ip) -> str:
    """The value of `i`: an IPv4 address as it is, an IPv6 address as 32 digits with dots."""
    return str(ip) if ip.version == 4 else ".".join(ip.exploded.replace(":", "").upper())


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    letter, digits, reverse, delimiters, plain = found.groups()
    if plain is not None:
        return _PLAIN[plain]
    value = values.get(letter.lower(), "unknown")
    if digits or reverse or delimiters:
        parts = re.split("[" + re.escape(delimiters or ".") + "]", value)
        if reverse:
            parts.reverse()
        # A number too long for any list of labels would only cost time to read.
        value = ".".join(parts[-int(digits[:9]) :] if digits else parts)
    return quote(value, safe="-._~") if letter.isupper() else value
