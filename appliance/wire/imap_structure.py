"""ENVELOPE and BODYSTRUCTURE ready to send, and the form in which a MIME tree is stored (RFC 3501 section 7.4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from appliance.errors import MessageError
from appliance.mail.addresslist import address_list
from appliance.mail.headers import Field, scan_fields, unfold
from appliance.mail.message import Message
from appliance.mail.mime import ENVELOPE_FIELDS, Part
from appliance.mail.parameters import Parameters
from appliance.wire.imap_strings import nstring, string

MAX_ADDRESSES = 10_000  # addresses of one field that ENVELOPE lists
_CACHED_OCTETS = 256  # what parts with a header up to this length become is kept

# The forms nearly every field has: a name or none, one plain address, a comma or the end. The characters are such
# that what matched can be put between quotes as it is.
_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]++"
_SIMPLE = re.compile(
    rb"""[ \t]*+
    (?: (?: "([\x20-!#-\[\]-~]*+)"[ \t]*+ | ((?>(?:ATEXT[ ]?+)*)) ) <(ATEXT)@([A-Za-z0-9.\-]++)>
      | (ATEXT)@([A-Za-z0-9.\-]++) )
    [ \t]*+ (?:,|\Z)""".replace(b"ATEXT", _ATEXT),
    re.VERBOSE,
)
_NO_FIELDS = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"

Kind = tuple[str, str, Parameters, str | None, str | None, str]  # type, subtype, parameters, id, description, encoding

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Part)


def envelope(message: Message) -> bytes:
    """The ENVELOPE of a message."""
    return _envelope(message.fields())


def _envelope(fields: Iterable[Field]) -> bytes:
    found: dict[bytes, bytes] = {}
    for name, value, _, _ in fields:
        if name in ENVELOPE_FIELDS and name not in found:
            found[name] = value
    if not found:
        return _NO_FIELDS
    author = _addresses(found.get(b"from"))
    sender = _addresses(found.get(b"sender"))
    reply_to = _addresses(found.get(b"reply-to"))
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _field(found.get(b"date")),
        _field(found.get(b"subject")),
        author,
        author if sender == b"NIL" else sender,
        author if reply_to == b"NIL" else reply_to,
        _addresses(found.get(b"to")),
        _addresses(found.get(b"cc")),
        _addresses(found.get(b"bcc")),
        _field(found.get(b"in-reply-to")),
        _field(found.get(b"message-id")),
    )


def _field(value: bytes | None) -> bytes:
    return b"NIL" if value is None else string(unfold(value))


def _addresses(value: bytes | None) -> bytes:
    """An address list, or NIL if there is none."""
    if not value:
        return b"NIL"
    value = unfold(value)
    out: list[bytes] = []
    position = 0
    while len(out) < MAX_ADDRESSES and (match := _SIMPLE.match(value, position)):
        quoted, phrase, local, domain, bare_local, bare_domain = match.groups()
        if bare_local:
            out.append(b'(NIL NIL "%b" "%b")' % (bare_local, bare_domain))
        elif name := quoted or (phrase and phrase.rstrip()):
            out.append(b'("%b" NIL "%b" "%b")' % (name, local, domain))
        else:
            out.append(b'(NIL NIL "%b" "%b")' % (local, domain))
        position = match.end()
        if position == len(value):
            return b"(%b)" % b"".join(out)
    # Whatever is left is read by the full grammar; no simple address ends inside of a group or a comment.
    rest = address_list(value[position:])[: MAX_ADDRESSES - len(out)]
    out += [b"(%b %b %b %b)" % tuple(map(nstring, entry)) for entry in rest]
    return b"(%b)" % b"".join(out) if out else b"NIL"


def bodystructure(part: Part, *, extended: bool = True) -> bytes:
    """The BODYSTRUCTURE of a part and all below it, or without `extended` its BODY."""
    if part.parts:
        children = b"".join([bodystructure(child, extended=extended) for child in part.parts])
        if not extended:
            return b"(%b %b)" % (children, string(part.subtype))
        return b"(%b %b %b %b)" % (
            children,
            string(part.subtype),
            _params(part.params),
            _extension(part.disposition, part.language, part.location),
        )
    # Many parts have the same few short headers. That of the whole message is not counted here, and may be long.
    short = 0 < part.body_start - part.header_start <= _CACHED_OCTETS
    kind = part.type, part.subtype, part.params, part.id, part.description, part.encoding
    before, behind = (_cached_leaf if short else _leaf)(kind, part.md5, part.disposition, part.language, part.location)
    out = [b"%b %d" % (before, part.size)]
    if part.message is not None:
        inner = bodystructure(part.message, extended=extended)
        out.append(b"%b %b %d" % (_envelope(scan_fields(part.message.envelope_fields)), inner, part.lines))
    elif part.type == "text":
        out.append(b"%d" % part.lines)
    if extended:
        out.append(behind)
    return b"(%b)" % b" ".join(out)


def _leaf(
    kind: Kind,
    md5: str | None,
    disposition: tuple[str, Parameters] | None,
    language: tuple[str, ...],
    location: str | None,
) -> tuple[bytes, bytes]:
    """What BODYSTRUCTURE says of a single part before its size and behind its lines."""
    type_, subtype, params, id_, description, encoding = kind
    before = (string(type_), string(subtype), _params(params), nstring(id_), nstring(description), string(encoding))
    return b" ".join(before), b"%b %b" % (nstring(md5), _extension(disposition, language, location))


_cached_leaf = lru_cache(maxsize=256)(_leaf)


def _params(params: Parameters) -> bytes:
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in params])


def _extension(disposition: tuple[str, Parameters] | None, language: tuple[str, ...], location: str | None) -> bytes:
    """Disposition, language and location."""
    if disposition is None and not language and location is None:
        return b"NIL NIL NIL"
    languages = [string(one) for one in language]
    return b"%b %b %b" % (
        b"NIL" if disposition is None else b"(%b %b)" % (string(disposition[0]), _params(disposition[1])),
        b"NIL" if not languages else languages[0] if len(languages) == 1 else b"(%b)" % b" ".join(languages),
        nstring(location),
    )


def pack(part: Part) -> bytes:
    """The compact form of a MIME tree, for storing."""
    return _encoder.encode(part)


def unpack(packed: bytes) -> Part:
    """Read the form written by `pack`. Raises MessageError if it is damaged."""
    try:
        return _decoder.decode(packed)
    except msgspec.MsgspecError as error:
        raise MessageError(f"stored structure is damaged: {error}") from error
