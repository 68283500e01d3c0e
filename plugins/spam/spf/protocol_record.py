"""An SPF record and its terms (RFC 7208 sections 4.6.1, 5 and 6, and the ABNF of appendix A). No DNS here."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from appliance.errors import ApplianceError

MAX_RECORD = 8192  # octets; names and answers have no room for policies that are longer and mean well
MAX_TERMS = 512

Qualifier = Literal["pass", "fail", "softfail", "neutral"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_QUALIFIERS: dict[str, Qualifier] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)")
_MECHANISM = re.compile(r"([+~?-]?)([A-Za-z][A-Za-z0-9_.-]*)([:/].*)?")
_DOMAIN_MACRO = r"%(?:\{[slodiphvSLODIPHV]\d*[rR]?[.\-+,/_=]*\}|[%_-])"
_EXPLANATION_MACRO = r"%(?:\{[slodiphvcrtSLODIPHVCRT]\d*[rR]?[.\-+,/_=]*\}|[%_-])"
_MACRO_STRING = re.compile(rf"(?:{_DOMAIN_MACRO}|[!-$&-~])*")
_EXPLAIN_STRING = re.compile(rf"(?:{_EXPLANATION_MACRO}|[ -$&-~])*")
_TOP_LABEL = re.compile(r"\.(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])\.?\Z")
_MACRO_END = re.compile(rf"{_DOMAIN_MACRO}\Z")
_CIDR = re.compile(r"(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
_LENGTH = re.compile(r"/(0|[1-9]\d{0,2})")


class RecordError(ApplianceError):
    """The record breaks the grammar: permerror. The text names the term."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One mechanism. `domain` is the unexpanded domain-spec, empty for the current domain."""

    qualifier: Qualifier
    mechanism: str  # all, include, a, mx, ptr, ip4, ip6, exists
    domain: str = ""
    network: Network | None = None  # of ip4 and ip6
    prefix_4: int = 32
    prefix_6: int = 128
    text: str = ""  # as it stands in the record


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record; `redirect` and `explanation` are unexpanded domain-specs, or empty."""

    directives: tuple[Directive, ...]
    redirect: str = ""
    explanation: str = ""


def is_version(text: bytes, versions: str = "v=spf1") -> bool:
    """Whether a TXT record begins with that version and a space, or is it alone (section 4.5)."""
    first, _, _ = text.partition(b" ")
    return first.lower() == versions.encode()


def parse(text: bytes) -> Record:
    """Read a whole record, its version section (up to the first space) left to the caller. Raises RecordError."""
    if len(text) > MAX_RECORD:
        raise RecordError(f"the record has more than {MAX_RECORD} octets")
    if not text.isascii():
        raise RecordError("the record is not ASCII")
    terms = [term for term in text.decode("ascii").split(" ")[1:] if term]
    if len(terms) > MAX_TERMS:
        raise RecordError(f"the record has more than {MAX_TERMS} terms")
    directives: list[Directive] = []
    modifiers: dict[str, str] = {}
    for term in terms:
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            directives.append(_directive(term))
            continue
        name, value = modifier[1].lower(), modifier[2]
        if name in {"redirect", "exp"}:
            if name in modifiers:
                raise RecordError(f"{name}= stands twice")
            modifiers[name] = _domain_spec(value, term)
        elif _MACRO_STRING.fullmatch(value) is None:
            raise RecordError(f"{term!r} is no term")
    return Record(tuple(directives), modifiers.get("redirect", ""), modifiers.get("exp", ""))


def check_explanation(text: str) -> None:
    """See that an explanation can be expanded (section 6.2). Raises RecordError."""
    if not text.isascii() or _EXPLAIN_STRING.fullmatch(text) is None:
        raise RecordError("the explanation is no text with macros")


def _directive(term: str) -> Directive:
    found = _MECHANISM.fullmatch(term)
    if found is None:
        raise RecordError(f"{term!r} is no term")
    sign, name = found[1], found[2].lower()
    colon, rest = term[len(sign) + len(name) :][:1] == ":", term[len(sign) + len(name) :]
    qualifier = _QUALIFIERS[sign or "+"]
    if name == "all":
        if rest:
            raise RecordError(f"{term!r}: all takes nothing more")
        return Directive(qualifier, "all", text=term)
    if name in {"ip4", "ip6"}:
        return Directive(qualifier, name, network=_network(name, rest, term), text=term)
    if name in {"include", "exists"}:
        if not colon:
            raise RecordError(f"{term!r} needs a domain")
        return Directive(qualifier, name, _domain_spec(rest[1:], term), text=term)
    if name == "ptr":
        if rest and not colon:
            raise RecordError(f"{term!r} is no term")
        return Directive(qualifier, name, _domain_spec(rest[1:], term) if colon else "", text=term)
    if name in {"a", "mx"}:
        return _with_prefixes(qualifier, name, rest, term)
    raise RecordError(f"{term!r}: there is no such mechanism")


def _with_prefixes(qualifier: Qualifier, name: str, rest: str, term: str) -> Directive:
    """`a:domain/24//64`: the domain may hold slashes itself, so the lengths are taken from the end."""
    found = re.fullmatch(r"(?P<domain>:.*?)?(?P<cidr>(?:/\d+)?(?://\d+)?)", rest)
    lengths = _CIDR.fullmatch(found["cidr"]) if found is not None else None
    if found is None or lengths is None:
        raise RecordError(f"{term!r} is no term")
    prefix_4 = int(lengths[1]) if lengths[1] is not None else 32
    prefix_6 = int(lengths[2]) if lengths[2] is not None else 128
    if prefix_4 > 32 or prefix_6 > 128:
        raise RecordError(f"{term!r}: the prefix is too long")
    domain = _domain_spec(found["domain"][1:], term) if found["domain"] is not None else ""
    return Directive(qualifier, name, domain, prefix_4=prefix_4, prefix_6=prefix_6, text=term)


def _network(name: str, rest: str, term: str) -> Network:
    address, slash, _ = rest[1:].partition("/")
    length = _LENGTH.fullmatch(rest[1 + len(address) :]) if slash else None
    if not rest.startswith(":") or (slash and length is None):
        raise RecordError(f"{term!r} is no term")
    try:
        if name == "ip4":
            return ipaddress.IPv4Network((address, int(length[1]) if length else 32), strict=False)
        return ipaddress.IPv6Network((address, int(length[1]) if length else 128), strict=False)
    except ValueError:
        raise RecordError(f"{term!r} has no network") from None


def _domain_spec(text: str, term: str) -> str:
    """Section 7.1: macros and text, with a top label or a macro at its end."""
    if _MACRO_STRING.fullmatch(text) is None or not (_TOP_LABEL.search(text) or _MACRO_END.search(text)):
        raise RecordError(f"{term!r} has no domain")
    return text
