"""Mail addresses as SMTP means them (RFC 5321 section 4.1.2, RFC 6531 section 3.3)."""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata
from dataclasses import dataclass

from appliance.errors import AddressError

MAX_LOCAL = 64  # octets, RFC 5321 section 4.5.3.1.1
MAX_DOMAIN = 255  # octets, section 4.5.3.1.2
MAX_LABEL = 63  # octets, RFC 1035 section 2.3.4

# RFC 6531 lets any character in that is not ASCII. Left out are those that no name needs and that a line, a terminal
# or an encoder can stumble over: C1 controls, line and paragraph separators, lone surrogates. The sets are written as
# what is not in them: Python compiles that ten times as fast, which a small board feels at every start.
_NEVER = r"\u2028\u2029\ud800-\udfff"
_ATEXT = rf'[^\x00- "(),.:;<>@\[\\\]\x7f-\x9f{_NEVER}]'
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED = re.compile(rf'"((?>(?:[^\x00-\x1f"\\\x7f-\x9f{_NEVER}]|\\[ -~])*))"')
_LETTER = rf"[^\x00-/:-@\[-\^`{{-\x9f{_NEVER}]"
_LABEL = rf"{_LETTER}++(?>(?:-++{_LETTER}++)*)"
# The last label is never a number: "127.0.0.1" without brackets would be taken for an address further on.
_DOMAIN = re.compile(rf"(?>(?:{_LABEL}\.)*)(?!\d++\Z){_LABEL}")
_LITERAL = re.compile(r"\[(?:(?i:IPv6):[0-9A-Fa-f:.]+|\d{1,3}(?:\.\d{1,3}){3})\]")


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox address. `local` is unquoted, in the case it was given; `domain` is lower case, NFC."""

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `local@domain` without angle brackets; the local part may be quoted, the domain an address literal.

        Raises AddressError on anything else, on octets over the limits of RFC 5321 section 4.5.3.1, and on
        control characters: what gets in here can be written into a command line again.
        """
        quoted = _QUOTED.match(text) if text[:1] == '"' else None
        if quoted:
            local, rest = re.sub(r"\\(.)", r"\1", quoted[1]), text[quoted.end() :]
            if rest[:1] != "@":
                raise AddressError("quoted local part without a domain")
            domain = rest[1:]
        else:
            local, at, domain = text.rpartition("@")
            if not at:
                raise AddressError("address without a domain")
            if not _DOT_STRING.fullmatch(local):
                raise AddressError("bad local part")
        if not local or len(local.encode()) > MAX_LOCAL:
            raise AddressError(f"local part must have 1 to {MAX_LOCAL} octets")
        return cls(local, normal_domain(domain))

    @property
    def is_ascii(self) -> bool:
        """Whether the address needs no SMTPUTF8 (RFC 6531)."""
        return self.local.isascii() and self.domain.isascii()

    @property
    def key(self) -> str:
        """The form by which two addresses of our own domains are compared: everything lower case, NFC, U-labels."""
        return _key(self.local, self.domain)

    def __str__(self) -> str:
        if self.local.isalnum() or _DOT_STRING.fullmatch(self.local):
            return f"{self.local}@{self.domain}"
        return '"' + re.sub(r'(["\\])', r"\\\1", self.local) + f'"@{self.domain}'


@functools.lru_cache(maxsize=1024)  # asked for several times for each recipient, and most come again
def _key(local: str, domain: str) -> str:
    local = local if local.isascii() else unicodedata.normalize("NFC", local)
    return f"{local.lower()}@{domain_key(domain)}"


def domain_key(domain: str) -> str:
    """The form by which two domains are compared: that of `normal_domain`, with U-labels in place of A-labels."""
    if "xn--" not in domain:
        return domain
    from appliance.mail.idna import to_unicode  # it needs this module, and few domains need it

    return to_unicode(domain)


@functools.lru_cache(maxsize=1024)  # the same few domains come again and again
def normal_domain(text: str) -> str:
    """Return the lower-case NFC form of a domain or address literal. Raises AddressError if it is neither."""
    if text[:1] == "[":
        if not _LITERAL.fullmatch(text):
            raise AddressError("bad address literal")
        try:
            ipaddress.ip_address(text[6:-1] if text[1] in "Ii" else text[1:-1])
        except ValueError:
            raise AddressError("bad address literal") from None
        return text.lower().replace("[ipv6:", "[IPv6:")
    domain = text if text.isascii() else unicodedata.normalize("NFC", text)
    if not _DOMAIN.fullmatch(domain):
        raise AddressError("bad domain")
    if len(domain.encode()) > MAX_DOMAIN or max(len(label.encode()) for label in domain.split(".")) > MAX_LABEL:
        raise AddressError("domain or label too long")
    return domain.lower()
