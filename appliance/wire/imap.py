"""The wire forms of IMAP that more than one part of Palomar needs (RFC 3501)."""

from __future__ import annotations

from appliance.wire.imap_strings import astring, decode_mailbox, encode_mailbox, literal, nstring, quoted, string
from appliance.wire.imap_structure import bodystructure, envelope, pack, unpack

__all__ = [
    "astring",
    "bodystructure",
    "decode_mailbox",
    "encode_mailbox",
    "envelope",
    "literal",
    "nstring",
    "pack",
    "quoted",
    "string",
    "unpack",
]
