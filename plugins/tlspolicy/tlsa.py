"""DANE on paper: which TLSA records can be used, and whether certificates fit them (RFC 6698, RFC 7671, RFC 7672).

Pure: the time is an argument. A path to a trust anchor of the domain's own (usage 2) is followed here, because
OpenSSL as Python offers it takes no anchors after the handshake.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from appliance.certificate import CertificateError, public_key_info, read_der
from appliance.errors import ApplianceError
from appliance.tlslink import TlsError

if TYPE_CHECKING:
    from cryptography import x509

MAX_RECORDS: Final = 64  # of one name; the rest is not looked at
MAX_DATA: Final = 65536  # octets of one record
MAX_CHAIN: Final = 10  # certificates that a host shows

DANE_TA: Final = 2
DANE_EE: Final = 3

_HASHES = {1: ("sha256", 32), 2: ("sha512", 64)}
_UNDERSTOOD = frozenset(  # extensions that a path may mark as critical
    {"2.5.29.15", "2.5.29.19", "2.5.29.37", "2.5.29.17", "2.5.29.35", "2.5.29.14", "2.5.29.32"}
)


class TlsaError(ApplianceError):
    """The text is no TLSA record."""


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @classmethod
    def parse(cls, text: str) -> Tlsa:
        """Read the presentation form: three numbers and hexadecimal digits. Raises TlsaError."""
        words = text.split()
        try:
            usage, selector, matching = (int(word) for word in words[:3])
            data = bytes.fromhex("".join(words[3:]))
        except ValueError as error:
            raise TlsaError(f"{text!r:.60} is no TLSA record") from error
        if not all(0 <= number <= 255 for number in (usage, selector, matching)):
            raise TlsaError(f"{text!r:.60} is no TLSA record")
        return cls(usage, selector, matching, data)

    @property
    def usable(self) -> bool:
        """Whether it can prove anything in SMTP: usages 0 and 1 cannot (RFC 7672 section 3.1.3)."""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (0, 1):
            return False
        if self.matching == 0:
            return 0 < len(self.data) <= MAX_DATA and _is_der(self)
        return self.matching in _HASHES and len(self.data) == _HASHES[self.matching][1]

    def fits(self, certificate: bytes) -> bool:
        """Whether the certificate, or its key, is the one that the record names."""
        chosen = certificate if self.selector == 0 else public_key_info(certificate)
        if self.matching == 0:
            return chosen == self.data
        return hashlib.new(_HASHES[self.matching][0], chosen).digest() == self.data

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


def read_records(texts: Iterable[str]) -> tuple[list[Tlsa], int]:
    """The usable ones of a name's records, and how many were not. Of hashes only the strongest count (RFC 7671 9)."""
    usable, unusable = list[Tlsa](), 0
    for text in list(texts)[:MAX_RECORDS]:
        try:
            record = Tlsa.parse(text)
        except TlsaError:
            unusable += 1
            continue
        if record.usable:
            usable.append(record)
        else:
            unusable += 1
    strongest: dict[tuple[int, int], int] = {}
    for one in usable:
        key = (one.usage, one.selector)
        strongest[key] = max(strongest.get(key, 0), one.matching)
    return [one for one in usable if one.matching in (0, strongest[one.usage, one.selector])], unusable


def prove(records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: float) -> None:
    """See that the certificates a host showed fit one of the records. Raises TlsError.

    Usage 3 names the host's own certificate: its names and dates do not matter (RFC 7672 section 3.1.1). Usage 2 names
    an issuer: the certificate must lead to it, be in date, and name the host or the domain (section 3.1.2).
    """
    if not chain:
        raise TlsError("the host showed no certificate")
    try:
        if any(record.fits(chain[0]) for record in records if record.usage == DANE_EE):
            return
        anchors = [record for record in records if record.usage == DANE_TA]
        if anchors:
            _prove_path(anchors, chain[:MAX_CHAIN], names, now)
            return
    except CertificateError as error:
        raise TlsError(f"a certificate of the host cannot be read: {error}") from error
    raise TlsError("the host's certificate is not the one that the TLSA records name")


def _prove_path(anchors: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: float) -> None:
    from cryptography import x509  # 11 MiB that usage 3 does not need
    from cryptography.exceptions import UnsupportedAlgorithm

    of_theirs = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)
    leaf = read_der(chain[0])
    try:
        shown = [x509.load_der_x509_certificate(der) for der in chain]
        # A record may hold the anchor itself, and then the host need not show it (RFC 7671 section 5.2.2).
        held = [x509.load_der_x509_certificate(one.data) for one in anchors if (one.selector, one.matching) == (0, 0)]
        _follow(shown, held, anchors, datetime.datetime.fromtimestamp(now, datetime.UTC))
    except (ValueError, TypeError, *of_theirs) as error:
        raise TlsError(f"a certificate of the host cannot be read: {error}") from error
    if not any(leaf.covers(name) for name in names):
        text = f"the host's certificate names {', '.join(leaf.names)[:200] or 'nobody'} and not {' or '.join(names)}"
        raise TlsError(text, failure="certificate-host-mismatch")


def _follow(
    shown: Sequence[x509.Certificate], held: Sequence[x509.Certificate], anchors: Sequence[Tlsa], at: datetime.datetime
) -> None:
    """Go from the host's certificate to its issuer, and so on, until an anchor. Raises TlsError."""
    current, depth = shown[0], 0
    candidates = [*shown[1:], *held]
    while True:
        if not current.not_valid_before_utc <= at <= current.not_valid_after_utc:
            raise TlsError("a certificate is not valid at this time", failure="certificate-expired")
        if depth and _is_anchor(current, anchors):
            return
        issuer = next((one for one in candidates if _issued(one, current, depth)), None)
        if issuer is None or depth >= MAX_CHAIN:
            raise TlsError("no way leads to an issuer that the TLSA records name", failure="certificate-not-trusted")
        candidates.remove(issuer)
        current, depth = issuer, depth + 1


def _is_anchor(certificate: x509.Certificate, anchors: Sequence[Tlsa]) -> bool:
    from cryptography.hazmat.primitives.serialization import Encoding

    der = certificate.public_bytes(Encoding.DER)
    return any(anchor.fits(der) for anchor in anchors)


def _issued(issuer: x509.Certificate, subject: x509.Certificate, below: int) -> bool:
    """Whether one certificate may sign others and has signed this one, with `below` issuers between it and the host."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    for extension in issuer.extensions:
        if extension.critical and extension.oid.dotted_string not in _UNDERSTOOD:
            return False
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not basic.ca or (basic.path_length is not None and basic.path_length < below):
            return False
        if not _may_sign(issuer):
            return False
        subject.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    return True


def _may_sign(issuer: x509.Certificate) -> bool:
    from cryptography import x509

    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _is_der(record: Tlsa) -> bool:
    """Whether a whole certificate or key is one: a record with something else could only lock mail out."""
    if record.selector == 1:
        return record.data[:1] == b"\x30"
    try:
        public_key_info(record.data)
    except CertificateError:
        return False
    return True
