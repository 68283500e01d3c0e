"""Transfer encodings undone piece by piece, for parts that are too large to hold (RFC 2045 sections 6.7 and 6.8)."""

from __future__ import annotations

import binascii
from typing import Protocol

IDENTITY = frozenset({"7bit", "8bit", "binary"})
MAX_QP_LINE = 64 * 1024  # octets of one encoded line that are kept back while its end has not come

_NOT_DIGITS = bytes(sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")))


class Decoder(Protocol):
    """Takes encoded octets as they come."""

    def feed(self, data: bytes) -> bytes:
        """The next decoded octets."""

    def finish(self) -> bytes:
        """The last of them."""


class Base64Decoder:
    """Leaves out whatever is not of the alphabet, and an incomplete last group."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The next decoded octets."""
        digits = self._rest + bytes(data).translate(None, _NOT_DIGITS)
        whole = len(digits) // 4 * 4
        self._rest = digits[whole:]
        return binascii.a2b_base64(digits[:whole])

    def finish(self) -> bytes:
        """The last of them."""
        rest, self._rest = self._rest, b""
        return binascii.a2b_base64(rest + b"=" * (-len(rest) % 4)) if len(rest) > 1 else b""


class QuotedPrintableDecoder:
    """Decodes whole lines; what is no valid escape stays as it is."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The next decoded octets."""
        data = self._rest + bytes(data)
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > MAX_QP_LINE:
            # A line that long is no quoted-printable; an escape is still not cut in two.
            escape = data.rfind(b"=", len(data) - 3)
            cut = escape if escape >= 0 else len(data)
        self._rest = data[cut:]
        return binascii.a2b_qp(data[:cut])

    def finish(self) -> bytes:
        """The last of them."""
        rest, self._rest = self._rest, b""
        return binascii.a2b_qp(rest)


def decoder(encoding: str) -> Decoder | None:
    """The decoder for a Content-Transfer-Encoding in lower case, or None if that is not known."""
    if encoding == "base64":
        return Base64Decoder()
    return QuotedPrintableDecoder() if encoding == "quoted-printable" else None
