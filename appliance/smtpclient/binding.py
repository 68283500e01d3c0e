"""Channel binding of the client's side: tls-server-end-point from the certificate that the server showed. Pure.

The few octets of DER that are needed are read here: the library for certificates costs more memory than the queue.
"""

from __future__ import annotations

import hashlib

# The signature algorithms of RFC 4055, RFC 3279 and RFC 5758 as DER object identifiers, and their hash. RFC 5929
# section 4.1 replaces MD5 and SHA-1 by SHA-256.
_RSA = bytes.fromhex("2a864886f70d0101")
_ECDSA = bytes.fromhex("2a8648ce3d04")
_HASHES = {
    _RSA + b"\x04": "sha256",  # MD5
    _RSA + b"\x05": "sha256",  # SHA-1
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    _ECDSA + b"\x01": "sha256",  # SHA-1
    _ECDSA + b"\x03\x01": "sha224",
    _ECDSA + b"\x03\x02": "sha256",
    _ECDSA + b"\x03\x03": "sha384",
    _ECDSA + b"\x03\x04": "sha512",
}
_RSASSA_PSS = _RSA + b"\x0a"
_NIST = bytes.fromhex("6086480165030402")
_NIST_HASHES = {
    _NIST + b"\x01": "sha256",
    _NIST + b"\x02": "sha384",
    _NIST + b"\x03": "sha512",
    _NIST + b"\x04": "sha224",
}
_SEQUENCE, _OID, _TAG_0 = 0x30, 0x06, 0xA0


def server_end_point(certificate: bytes) -> bytes:
    """The tls-server-end-point data of a certificate in DER (RFC 5929 section 4).

    Empty where the signature has no hash of its own (Ed25519) or one that is not known here: there is no binding.
    """
    try:
        algorithm = _signature_algorithm(certificate)
    except (IndexError, ValueError):  # no certificate at all; TLS would not have taken it
        return b""
    return hashlib.new(algorithm, certificate).digest() if algorithm else b""


def _signature_algorithm(certificate: bytes) -> str:
    start, _ = _element(certificate, 0, _SEQUENCE)
    _, after_body = _element(certificate, start, _SEQUENCE)
    start, end = _element(certificate, after_body, _SEQUENCE)
    oid_start, oid_end = _element(certificate, start, _OID)
    oid = certificate[oid_start:oid_end]
    if oid != _RSASSA_PSS:
        return _HASHES.get(oid, "")
    return _pss_hash(certificate[oid_end:end])


def _pss_hash(parameters: bytes) -> str:
    """The hash of RSASSA-PSS-params (RFC 4055 section 3.1); without one it is SHA-1, for which SHA-256 stands in."""
    start, end = _element(parameters, 0, _SEQUENCE)
    if start == end or parameters[start] != _TAG_0:
        return "sha256"
    start, _ = _element(parameters, start, _TAG_0)
    start, _ = _element(parameters, start, _SEQUENCE)
    start, end = _element(parameters, start, _OID)
    return _NIST_HASHES.get(parameters[start:end], "")


def _element(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Start and end of the contents of the DER element with that tag at an offset. Raises ValueError, IndexError."""
    if data[at] != tag:
        raise ValueError(f"DER tag {data[at]} where {tag} was expected")
    length, start = data[at + 1], at + 2
    if length >= 0x80:
        octets = length & 0x7F
        length, start = int.from_bytes(data[start : start + octets], "big"), start + octets
    if start + length > len(data):
        raise ValueError("DER element longer than its surroundings")
    return start, start + length
