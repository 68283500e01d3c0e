"""TLS to hosts with certificates of their own: contexts that trust one file only, and pinned certificates."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import Problem
from appliance.tlslink import TlsError

MAX_CONTEXTS = 100  # kept; they cost some 20 KiB each

_HEX_DIGITS = 64  # of SHA-256


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client's context is made of. Without `ca_file` the system's authorities are trusted."""

    ca_file: Path | None = None
    certificate: Path | None = None  # of ours, for hosts that ask for one
    key: Path | None = None
    trust: Path | None = None  # authorities besides the system's, where there is no `ca_file`
    verify: bool = True


class PinnedContexts:
    """Contexts by their terms, made anew when a file has changed."""

    def __init__(self) -> None:
        self._made: dict[Terms, tuple[tuple[int, ...], ssl.SSLContext]] = {}

    def context(self, terms: Terms) -> ssl.SSLContext:
        """The context for connections on these terms. Raises OSError and ssl.SSLError when a file is of no use."""
        files = [file for file in (terms.ca_file, terms.certificate, terms.key, terms.trust) if file is not None]
        mark = tuple(file.stat().st_mtime_ns for file in files)
        known = self._made.get(terms)
        if known is not None and known[0] == mark:
            return known[1]
        if len(self._made) >= MAX_CONTEXTS:
            self._made.clear()
        context = _context(terms)
        self._made[terms] = mark, context
        return context


def _context(terms: Terms) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if terms.ca_file is not None:
        context.load_verify_locations(cafile=terms.ca_file)
        # The file may hold the host's own certificate instead of an authority's: then that one is the anchor.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs()
        if terms.trust is not None:
            context.load_verify_locations(cafile=terms.trust)
    if not terms.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if terms.certificate is not None:
        context.load_cert_chain(terms.certificate, terms.key, password=lambda: "-")  # else OpenSSL asks a terminal
    return context


def fingerprint_problem(name: str, fingerprints: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the fingerprints that the setting `name` holds."""
    for text in fingerprints:
        digits = _digits(text)
        if len(digits) != _HEX_DIGITS or not all(digit in "0123456789abcdef" for digit in digits):
            remedy = "`openssl x509 -in FILE -noout -fingerprint -sha256` prints it."
            yield Problem(name, f"{text!r} is no SHA-256 fingerprint of a certificate.", remedy)


def pinned(fingerprints: Sequence[str]) -> Callable[[Sequence[bytes]], None]:
    """A check that a host shows one of these certificates (SHA-256 of its DER, in hex, with or without colons)."""
    wanted = [bytes.fromhex(_digits(text)) for text in fingerprints]

    def check(chain: Sequence[bytes]) -> None:
        """Raises TlsError for any other certificate."""
        shown = hashlib.sha256(chain[0]).digest() if chain else b""
        if not any(hmac.compare_digest(shown, one) for one in wanted):
            raise TlsError(f"its certificate is another one than those pinned: SHA-256 {shown.hex()}")

    return check


def _digits(text: str) -> str:
    return text.replace(":", "").replace(" ", "").lower()
