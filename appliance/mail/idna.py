"""Domains in ASCII and in Unicode (RFC 5890 section 2.3.2.1: A-labels and U-labels).

Our domains are lower case and NFC already, so conversion is Punycode alone; whether a label may be registered is the
registry's business. Unlike the standard library's codec (IDNA 2003) this keeps ß and ς, as RFC 5891 does.
"""

from __future__ import annotations

from appliance.errors import AddressError
from appliance.mail.address import MAX_DOMAIN, MAX_LABEL, normal_domain

PREFIX = "xn--"


def to_ascii(domain: str) -> str:
    """Return the domain with A-labels, as DNS and older servers want it. Raises AddressError when it is too long."""
    if domain.isascii():
        return domain
    labels = [label if label.isascii() else _a_label(label) for label in domain.split(".")]
    text = ".".join(labels)
    if len(text) > MAX_DOMAIN:
        raise AddressError("domain too long for DNS")
    return text


def to_unicode(domain: str) -> str:
    """Return the domain with U-labels where its A-labels are sound; others stay as they are."""
    if PREFIX not in domain.lower():
        return domain
    return ".".join(_u_label(label) if label.lower().startswith(PREFIX) else label for label in domain.split("."))


def _a_label(label: str) -> str:
    try:
        text = PREFIX + label.encode("punycode").decode("ascii")
    except UnicodeError as error:
        raise AddressError("domain cannot be written in ASCII") from error
    if len(text) > MAX_LABEL:
        raise AddressError("domain label too long for DNS")
    return text


def _u_label(label: str) -> str:
    try:
        text = label[len(PREFIX) :].encode("ascii").decode("punycode")
        sound = not text.isascii() and normal_domain(text) == text
    except (UnicodeError, AddressError):
        return label
    # Only a label that converts back to itself is an A-label; else two texts would mean one domain.
    return text if sound and PREFIX + text.encode("punycode").decode("ascii") == label.lower() else label
