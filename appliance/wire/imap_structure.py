"""ENVELOPE and BODYSTRUCTURE ready to send, and the form in which a MIME tree is stored (RFC 3501 section 7.4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from appliance.errors import MessageError
from appliance.mail.addresslist import address_list
from appliance.mail.headers import Field, scan_fields, unfold
from appliance.mail.message import Message
from appliance.mail.mime import ENVELOPE_FIELDS, Part
from appliance.mail.parameters import Parameters
from appliance.wire.imap_strings import nstring, string

MAX_ADDRESSES = 10_000  # addresses of one field that ENVELOPE lists

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
        return b"(%b %b %b %b)" % (children, string(part.subtype), _params(part.params), _extension(part))
    out = [
        b"%b %b %b %b %b %b %d"
        % (
            string(part.type),
            string(part.subtype),
            _params(part.params),
            nstring(part.id),
            nstring(part.description),
            string(part.encoding),
            part.size,
        )
    ]
    if part.message is not None:
        inner = bodystructure(part.message, extended=extended)
        out.append(b"%b %b %d" % (_envelope(scan_fields(part.message.envelope_fields)), inner, part.lines))
    elif part.type == "text":
        out.append(b"%d" % part.lines)
    if extended:
        out.append(b"%b %b" % (nstring(part.md5), _extension(part)))
    return b"(%b)" % b" ".join(out)


def _params(params: Parameters) -> bytes:
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in params])


def _extension(part: Part) -> bytes:
    """Disposition, language and location."""
    disposition, language = b"NIL", b"NIL"
    if part.disposition is not None:
        disposition = b"(%b %b)" % (string(part.disposition[0]), _params(part.disposition[1]))
    elif not part.language and part.location is None:
        return b"NIL NIL NIL"
    if len(part.language) == 1:
        language = string(part.language[0])
    elif part.language:
        language = b"(%b)" % b" ".join(map(string, part.language))
    return b"%b %b %b" % (disposition, language, nstring(part.location))


def pack(part: Part) -> bytes:
    """The compact form of a MIME tree, for storing."""
    return _encoder.encode(part)


def unpack(packed: bytes) -> Part:
    """Read the form written by `pack`. Raises MessageError if it is damaged."""
    try:
        return _decoder.decode(packed)
    except msgspec.MsgspecError as error:
        raise MessageError(f"stored structure is damaged: {error}") from error
