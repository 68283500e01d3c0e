"""What we need to know of a certificate, read from its DER without a library: names, dates, channel binding.

Certificates of this machine's own configuration, and those that a peer's TLSA records speak of; whether a peer's
certificate is good by authorities is OpenSSL's business.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from appliance.errors import ApplianceError

SEQUENCE: Final = 0x30
OID: Final = 0x06
CONTEXT_0: Final = 0xA0  # tbsCertificate.version; in RSASSA-PSS-params the hash
EXTENSIONS: Final = 0xA3
SUBJECT_ALT_NAME: Final = bytes.fromhex("551d11")
DNS_NAME: Final = 0x82  # GeneralName [2]
IP_ADDRESS: Final = 0x87  # GeneralName [7]
PSS: Final = bytes.fromhex("2a864886f70d01010a")

# Signature algorithms and hashes, by OID, and the hash of RFC 5929 section 4.1: MD5 and SHA-1 count as SHA-256.
HASHES: Final = {
    bytes.fromhex("2a864886f70d010104"): "sha256",  # md5WithRSA
    bytes.fromhex("2a864886f70d010105"): "sha256",  # sha1WithRSA
    bytes.fromhex("2a864886f70d01010b"): "sha256",
    bytes.fromhex("2a864886f70d01010c"): "sha384",
    bytes.fromhex("2a864886f70d01010d"): "sha512",
    bytes.fromhex("2a864886f70d01010e"): "sha224",
    bytes.fromhex("2a8648ce3d0401"): "sha256",  # ecdsa-with-SHA1
    bytes.fromhex("2a8648ce3d040302"): "sha256",
    bytes.fromhex("2a8648ce3d040303"): "sha384",
    bytes.fromhex("2a8648ce3d040304"): "sha512",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}


class CertificateError(ApplianceError):
    """The bytes are no X.509 certificate that we can read."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. Names are lower case; addresses are written out. Times are epoch seconds."""

    names: tuple[str, ...]
    not_before_at: float
    not_after_at: float
    binding: bytes  # tls-server-end-point; empty where the signature defines no hash (Ed25519)
    key_digest: bytes = b""  # SHA-256 of the SubjectPublicKeyInfo: what a TLSA record "3 1 1" holds (RFC 6698)

    def covers(self, name: str) -> bool:
        """Whether the certificate is for this host name or address (RFC 9525 section 6.3)."""
        name = name.lower().rstrip(".")
        parent = name.partition(".")[2]
        return name in self.names or (bool(parent) and f"*.{parent}" in self.names)


def read_pem(text: str) -> Certificate:
    """Read the first certificate of a PEM file, the server's own. Raises CertificateError."""
    start = text.find(ssl.PEM_HEADER)
    end = text.find(ssl.PEM_FOOTER, start)
    if start < 0 or end < 0:
        raise CertificateError("the file holds no certificate in PEM form")
    try:
        return read_der(ssl.PEM_cert_to_DER_cert(text[start : end + len(ssl.PEM_FOOTER)]))
    except ValueError as error:  # base64
        raise CertificateError(f"the certificate is damaged: {error}") from error


def read_der(der: bytes) -> Certificate:
    """Read Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, … } (RFC 5280 section 4.1)."""
    try:
        (_, certificate), *_ = _elements(der)
        (_, tbs), (_, algorithm), *_ = _elements(certificate)
        fields = list(_elements(tbs))
        if fields[0][0] == CONTEXT_0:
            del fields[0]
        not_before, not_after = (_time(tag, value) for tag, value in _elements(fields[3][1]))
        names = tuple(name for tag, value in fields[6:] if tag == EXTENSIONS for name in _alternative_names(value))
        hash_name = _hash(algorithm)
    except (IndexError, ValueError) as error:
        raise CertificateError(f"the certificate is damaged: {error}") from error
    binding = hashlib.new(hash_name, der).digest() if hash_name else b""
    key_digest = hashlib.sha256(public_key_info(der)).digest()
    return Certificate(names, not_before, not_after, binding, key_digest)


def public_key_info(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, in DER: what pins and TLSA records name. Raises CertificateError."""
    try:
        (_, certificate), *_ = _elements(der)
        (_, tbs), *_ = _elements(certificate)
        fields = list(_elements(tbs))
        if fields[0][0] == CONTEXT_0:
            del fields[0]
        tag, content = fields[5]
    except (IndexError, ValueError) as error:
        raise CertificateError(f"the certificate is damaged: {error}") from error
    if tag != SEQUENCE:
        raise CertificateError("the certificate is damaged: no public key where it belongs")
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes((size,)) if size < 0x80 else bytes((0x80 | len(octets),)) + octets
    return bytes((SEQUENCE,)) + length + content


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split DER into (tag, content). Raises ValueError when a length does not fit."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(data[position : position + octets], "big")
            position += octets
        if position + length > len(data):
            raise ValueError("a length goes past the end")
        yield tag, data[position : position + length]
        position += length


def _time(tag: int, value: bytes) -> float:
    """UTCTime or GeneralizedTime (RFC 5280 section 4.1.2.5): years 50..99 are the twentieth century's."""
    text = value.decode("ascii")
    if tag == 0x17:
        text = ("19" if text >= "50" else "20") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()


def _alternative_names(wrapped: bytes) -> Iterator[str]:
    (_, extensions), *_ = _elements(wrapped)
    for _, extension in _elements(extensions):
        (_, oid), *_, (_, value) = _elements(extension)
        if oid != SUBJECT_ALT_NAME:
            continue
        (_, general_names), *_ = _elements(value)
        for tag, name in _elements(general_names):
            if tag == DNS_NAME:
                yield name.decode("ascii", "replace").lower()
            elif tag == IP_ADDRESS:
                yield str(ipaddress.ip_address(name))


def _hash(algorithm: bytes) -> str:
    (_, oid), *parameters = _elements(algorithm)
    if oid != PSS:
        return HASHES.get(oid, "")
    for tag, value in _elements(parameters[0][1]) if parameters else ():
        if tag == CONTEXT_0:
            (_, identifier), *_ = _elements(value)
            (_, oid), *_ = _elements(identifier)
            return HASHES.get(oid, "")
    return "sha256"  # the default is SHA-1, which counts as SHA-256
