"""Make the certificate of a first start: `python -m appliance.selfsigned FOLDER NAME…`.

Runs as a child, so that `cryptography` (11 MiB) never enters the mail process. The key file is kept when the
certificate is renewed: clients that remember the key need not be told.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import sys
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CERTIFICATE = "self-signed.pem"
KEY = "self-signed.key"
VALID_DAYS = 820  # Apple's systems refuse more than 825
# A board without a clock starts in the past; a certificate counted from there would have ended before it is used.
EARLIEST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def make(folder: Path, names: list[str], now: datetime.datetime) -> None:
    """Write key (mode 0600) and certificate for `names`, the first of which is the host's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _key(folder / KEY)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    start = max(now, EARLIEST) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    _replace(folder / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        with contextlib.suppress(ValueError, TypeError):  # damaged, or not ours: it is made anew
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(path, pem, 0o600)
    return key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all; its mode holds from the first byte on (mkstemp makes it 0600)."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb", buffering=0) as file:  # unbuffered: the sync must find the octets written
        file.write(data)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.replace(name, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:], datetime.datetime.now(datetime.UTC))
