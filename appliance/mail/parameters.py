"""Content-Type, Content-Disposition and their parameters (RFC 2045 section 5, RFC 2183, RFC 2231)."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

from appliance.mail.headers import strip_comments, text_of, unescape, unfold

Parameters = tuple[tuple[str, str], ...]

MAX_PARAMETERS = 200  # parameters of one field that are looked at, continuations of RFC 2231 included
_CACHED_OCTETS = 256  # only short values are worth keeping: `text/plain; charset=utf-8` and its like

_TOKEN = rb"[^\s/;()<>@,\\\"\[\]?=\x00-\x1f\x7f-\xff]++"
_TYPE = re.compile(rb"\s*+(" + _TOKEN + rb")\s*+/\s*+(" + _TOKEN + rb")(?:\s++|(?=;|\Z));?+")
_WORD = re.compile(rb"\s*+(" + _TOKEN + rb")\s*+;?+")
# One step of a contiguous walk, which never fails: a name if there is one, the value, the semicolon after it. The
# value is taken with whatever stands in it, so that a semicolon in a quoted string never starts a parameter.
_PARAMETER = re.compile(
    rb'\s*+(?>(?:([^\s=;"]++)\s*+=\s*+)?)((?>(?:"(?>(?:[^"\\]++|\\.)*)(?:"|\\?$)|[^;"]++)*));?+',
    re.DOTALL,
)
_QUOTED = re.compile(rb'"((?>(?:[^"\\]++|\\.)*))', re.DOTALL)
_CONTINUED = re.compile(rb"([^*]++)\*(?>(?:(\d{1,3})(?>(\*)?))?)")


def content_type(value: bytes) -> tuple[str, str, Parameters] | None:
    """Read a Content-Type value. Return type and subtype in lower case and the parameters, or None if it is broken.

    A parameter in the extended form of RFC 2231 is listed as `name*` with its value `charset'language'text` still
    percent-encoded; its continuations are joined. `parameter` gives the decoded text.
    """
    if len(value) <= _CACHED_OCTETS:
        return _cached_content_type(value)
    return _content_type(value)


def _content_type(value: bytes) -> tuple[str, str, Parameters] | None:
    value = strip_comments(unfold(value))
    match = _TYPE.match(value)
    if match is None:
        return None
    return match[1].decode().lower(), match[2].decode().lower(), _parameters(value, match.end())


_cached_content_type = lru_cache(maxsize=256)(_content_type)


def content_disposition(value: bytes) -> tuple[str, Parameters] | None:
    """Read a Content-Disposition value: the disposition in lower case and its parameters, or None if it is broken."""
    value = strip_comments(unfold(value))
    match = _WORD.match(value)
    if match is None:
        return None
    return match[1].decode().lower(), _parameters(value, match.end())


def parameter(parameters: Parameters, name: str) -> str | None:
    """Return the decoded text of one parameter, the extended form of RFC 2231 preferred, or None."""
    plain = None
    for key, value in parameters:
        if key == name:
            plain = value
        elif key[-1:] == "*" and key[:-1] == name:
            return _decode_extended(value)
    return plain


def _parameters(value: bytes, position: int) -> Parameters:
    found: dict[bytes, bytes] = {}
    continued: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    for _ in range(MAX_PARAMETERS):
        if position >= len(value):
            break
        match = _PARAMETER.match(value, position)
        if match is None or match.end() == position:
            break
        position = match.end()
        name, raw = match.groups()
        if name is None:
            continue
        name = name.lower()
        if b"*" not in name:
            found.setdefault(name, _unquoted(raw))
        elif star := _CONTINUED.fullmatch(name):
            if star[2] is None:
                found.setdefault(name, _unquoted(raw))
            else:
                segments = continued.setdefault(star[1], {})
                segments.setdefault(int(star[2]), (_unquoted(raw), star[3] is not None))
    for name, segments in continued.items():
        joined_name, joined = _join(name, segments)
        found.setdefault(joined_name, joined)
    return tuple((text_of(name), text_of(text)) for name, text in found.items())


def _unquoted(raw: bytes) -> bytes:
    if match := _QUOTED.match(raw):
        return unescape(match[1])
    return raw.rstrip()


def _join(name: bytes, segments: dict[int, tuple[bytes, bool]]) -> tuple[bytes, bytes]:
    """Join `name*0`, `name*1*` … up to the first gap (RFC 2231 sections 3 and 4.1)."""
    pieces: list[tuple[bytes, bool]] = []
    while len(pieces) in segments:
        pieces.append(segments[len(pieces)])
    if not any(extended for _, extended in pieces):
        return name, b"".join(text for text, _ in pieces)
    # Plain pieces among extended ones may hold a literal percent sign: encode them, so that one rule decodes all.
    texts = [text if extended else quote_from_bytes(text).encode() for text, extended in pieces]
    if not pieces[0][1]:
        texts.insert(0, b"''")
    return name + b"*", b"".join(texts)


def _decode_extended(value: str) -> str:
    charset, mark, rest = value.partition("'")
    _language, second, text = rest.partition("'")
    if not mark or not second:
        charset, text = "", value
    octets = unquote_to_bytes(text)
    try:
        return octets.decode(charset or "utf-8")
    except (LookupError, UnicodeError, ValueError):
        return text_of(octets)
