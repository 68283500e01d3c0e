"""SASL messages on the base64 lines of SMTP, POP3 and IMAP (RFC 4954, RFC 5034, RFC 3501)."""

from __future__ import annotations

import binascii
import re

from appliance.wire.sasl.errors import SaslAbortedError, SaslError

MAX_MESSAGE = 16 * 1024  # octets decoded; SCRAM and PLAIN need a few hundred, RFC 4954 section 4 asks for 12288 a line
MAX_LINE = (MAX_MESSAGE + 2) // 3 * 4  # octets of base64, without the line's end

_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def decode_line(line: bytes, *, initial: bool = False) -> bytes:
    """Decode one line of the client, without its CRLF. `initial` is for a response on the command line itself.

    There a single `=` stands for an empty response. Raises SaslAbortedError on `*`, SaslError on what is no base64
    (RFC 4648 section 4, no other characters, complete padding) and on more than MAX_MESSAGE octets.
    """
    if line == b"*":
        raise SaslAbortedError("Authentication aborted")
    if initial and line == b"=":
        return b""
    if len(line) > MAX_LINE:
        raise SaslError("Authentication message too long")
    if not _BASE64.fullmatch(line):
        raise SaslError("Invalid base64 data")
    data = binascii.a2b_base64(line)
    if len(data) > MAX_MESSAGE:
        raise SaslError("Authentication message too long")
    return data


def encode_line(data: bytes, *, initial: bool = False) -> bytes:
    """Encode one message as the line that carries it, without CRLF. An empty initial response is written `=`."""
    if initial and not data:
        return b"="
    return binascii.b2a_base64(data, newline=False)
