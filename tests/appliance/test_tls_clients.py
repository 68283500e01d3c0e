"""Certificates of clients: asked for where they can be logins, and verified in TLS."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from appliance.mail.session import ClientCertificate
from appliance.tls import Certificates, TlsConfig, problems
from appliance.tlslink import TlsError, TlsLink
from tests.appliance.certificates import client_context
from tests.appliance.test_tls import certificates, pair_of
from tests.appliance.test_tlslink import shake

ANA = "ana@palomar.test"
OURS, THEIRS = trustme.CA(), trustme.CA()
Show = Callable[[ssl.SSLContext], None]


@pytest.fixture
def config(tmp_path: Path) -> TlsConfig:
    authorities = tmp_path / "clients.pem"
    OURS.cert_pem.write_to_path(str(authorities))
    pair = pair_of(tmp_path, "localhost")
    names = {"other.test": pair_of(tmp_path, "other.test")}
    return TlsConfig(certificate=pair.certificate, key=pair.key, names=names, client_ca=authorities)


def nothing(context: ssl.SSLContext) -> None:
    """Show no certificate."""


def certificate_of(*names: str, by: trustme.CA = OURS, **named: object) -> Show:
    return by.issue_cert(*names, **named).configure_cert  # type: ignore[arg-type]


def client_of(
    made: Certificates,
    show: Show,
    *,
    name: str = "localhost",
    logins: bool = True,
    version: int = ssl.TLSVersion.TLSv1_3,
) -> ClientCertificate | None:
    """What the server knows of a client. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion(version)
    show(context)
    server = TlsLink(made.login_context() if logins else made.server_context(), server_side=True)
    client = TlsLink(context, server_side=False, server_hostname=name)
    client.start()
    shake(server, client)
    return server.info().client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["localhost", "other.test", "unknown.test"])
def test_a_good_certificate_is_known_by_fingerprint_and_addresses(
    tmp_path: Path, config: TlsConfig, name: str, version: int
) -> None:
    made = certificates(tmp_path, config)
    issued = OURS.issue_cert(ANA, "laptop.palomar.test", "luis@palomar.test")
    client = client_of(made, issued.configure_cert, name=name, version=version)
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    assert client == ClientCertificate(hashlib.sha256(der).hexdigest(), (ANA, "luis@palomar.test"))


def test_our_own_certificate_goes_by_name_there_too(tmp_path: Path, config: TlsConfig) -> None:
    made = certificates(tmp_path, config)
    for name in ("localhost", "other.test"):
        server = TlsLink(made.login_context(), server_side=True)
        client = TlsLink(client_context(), server_side=False, server_hostname=name)
        client.start()
        shake(server, client)
        assert server.info().binding == made.binding(name)


def test_without_a_certificate_all_goes_on(tmp_path: Path, config: TlsConfig) -> None:
    assert client_of(certificates(tmp_path, config), nothing) is None


def test_nobody_is_asked_without_the_setting_or_elsewhere(tmp_path: Path, config: TlsConfig) -> None:
    """Other servers show certificates of all kinds: the MX port must not care."""
    shows = certificate_of(ANA, by=THEIRS)
    made = certificates(tmp_path, config)
    assert client_of(made, shows, logins=False) is None
    plain = TlsConfig(certificate=config.certificate, key=config.key)
    assert client_of(certificates(tmp_path, plain), shows) is None


PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "show",
    [certificate_of(ANA, by=THEIRS), certificate_of(ANA, not_before=PAST, not_after=PAST + datetime.timedelta(days=9))],
    ids=["of another authority", "ended"],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["localhost", "other.test"])
def test_a_bad_certificate_ends_the_handshake(
    tmp_path: Path, config: TlsConfig, show: Show, version: int, name: str
) -> None:
    with pytest.raises(TlsError, match="certificate"):
        client_of(certificates(tmp_path, config), show, name=name, version=version)


def test_a_device_s_own_certificate_may_be_named(tmp_path: Path, config: TlsConfig) -> None:
    issued = THEIRS.issue_cert("phone.palomar.test")
    assert config.client_ca is not None
    config.client_ca.write_bytes(issued.cert_chain_pems[0].bytes())
    client = client_of(certificates(tmp_path, config), issued.configure_cert)
    assert client is not None
    assert client.addresses == ()
    with pytest.raises(TlsError):
        client_of(certificates(tmp_path, config), certificate_of(ANA, by=THEIRS))


def test_a_revoked_certificate_is_out_once_the_list_is_there(tmp_path: Path, config: TlsConfig) -> None:
    lost, kept = OURS.issue_cert(ANA), OURS.issue_cert(ANA)
    made = certificates(tmp_path, config)
    assert client_of(made, lost.configure_cert) is not None
    assert config.client_ca is not None
    new = tmp_path / "new.pem"
    new.write_bytes(config.client_ca.read_bytes() + revoking(lost))
    new.rename(config.client_ca)
    assert made.refresh()
    assert client_of(made, kept.configure_cert) is not None
    with pytest.raises(TlsError, match="revoked"):
        client_of(made, lost.configure_cert)


def revoking(lost: trustme.LeafCert) -> bytes:
    """A revocation list of OURS."""
    key = serialization.load_pem_private_key(OURS.private_key_pem.bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey)
    serial = x509.load_pem_x509_certificate(lost.cert_chain_pems[0].bytes()).serial_number
    now = datetime.datetime.now(datetime.UTC)
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.load_pem_x509_certificate(OURS.cert_pem.bytes()).subject,
        last_update=now - datetime.timedelta(days=1),
        next_update=now + datetime.timedelta(days=1),
        revoked_certificates=[entry],
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("text", ["", "no certificate", None])
def test_a_file_that_is_of_no_use_is_named(tmp_path: Path, config: TlsConfig, text: str | None) -> None:
    assert config.client_ca is not None
    config.client_ca.unlink()
    if text is not None:
        config.client_ca.write_text(text)
    (problem,) = problems(config)
    assert problem.setting == "tls.client_ca"
    assert str(config.client_ca) in problem.text
    assert "PEM" in problem.remedy
