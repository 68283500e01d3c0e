from __future__ import annotations

import asyncio
import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance import selfsigned
from appliance.certificate import read_pem
from appliance.errors import ConfigError
from appliance.tls import POLL_S, CertificatePair, Certificates, TlsConfig, problems
from appliance.tlslink import TlsError, TlsLink
from tests.appliance.certificates import authority
from tests.appliance.test_tlslink import shake

NOW = 1_800_000_000.0  # 2027
DAY = 86400.0


def write_pair(folder: Path, name: str, *names: str) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    issued = authority().issue_cert(*(names or (name,)))
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    key.chmod(0o600)
    return certificate, key


def pair_of(folder: Path, name: str, *names: str) -> CertificatePair:
    certificate, key = write_pair(folder, name, *names)
    return CertificatePair(certificate=certificate, key=key)


def certificates(
    folder: Path, config: TlsConfig | None = None, *, hostname: str = "mail.palomar.test", now: float | None = None
) -> Certificates:
    made = Certificates(lambda: config or TlsConfig(), lambda: hostname, folder, now=lambda: now or NOW)
    made.load()
    return made


def served(made: Certificates, server_name: str | None) -> tuple[bytes, TlsLink]:
    """The certificate that a client asking for this name gets, and the server's end of the link."""
    server = TlsLink(made.server_context(), server_side=True)
    client = TlsLink(made.client_context(False), server_side=False, server_hostname=server_name)
    client.start()
    shake(server, client)
    der = client.peer_certificate()
    assert der is not None
    return der, server


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    certificates(folder)
    return folder


def test_a_first_start_makes_a_certificate_of_its_own(first_start: Path) -> None:
    folder = first_start / "tls"
    assert stat.S_IMODE((folder / "self-signed.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = read_pem((folder / "self-signed.pem").read_text())
    assert found.names == ("mail.palomar.test", "localhost", "127.0.0.1", "::1")
    before = (folder / "self-signed.pem").read_bytes()
    made = certificates(first_start)
    assert (folder / "self-signed.pem").read_bytes() == before
    assert made.binding("anything") == found.binding
    assert not made.refresh()
    der, server = served(made, "localhost")
    assert ssl.DER_cert_to_PEM_cert(der).strip() == before.decode().strip()
    assert server.info().binding == found.binding


def test_a_new_name_makes_a_new_certificate_with_the_same_key(tmp_path: Path) -> None:
    certificates(tmp_path)
    key = (tmp_path / "tls" / "self-signed.key").read_bytes()
    made = certificates(tmp_path, hostname="other.palomar.test")
    assert made.facts()[""].covers("other.palomar.test")
    assert (tmp_path / "tls" / "self-signed.key").read_bytes() == key


def test_files_that_a_power_cut_has_emptied_are_made_anew(tmp_path: Path) -> None:
    certificates(tmp_path)
    (tmp_path / "tls" / "self-signed.key").write_bytes(b"")
    (tmp_path / "tls" / "self-signed.pem").write_bytes(b"")
    assert certificates(tmp_path).facts()[""].covers("mail.palomar.test")


def test_what_is_synced_is_written_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    selfsigned.make(tmp_path, ["mail.palomar.test"], datetime.datetime.now(datetime.UTC))
    key, _, certificate, _ = sizes  # each with its folder
    assert key == (tmp_path / selfsigned.KEY).stat().st_size
    assert certificate == (tmp_path / selfsigned.CERTIFICATE).stat().st_size


def test_an_own_certificate_is_renewed_before_it_ends_but_not_by_an_unset_clock(first_start: Path) -> None:
    end = certificates(first_start).facts()[""].not_after_at
    due = Certificates(TlsConfig, lambda: "mail.palomar.test", first_start, now=lambda: end - 29 * DAY)
    assert due._self_signed_due()
    early = Certificates(TlsConfig, lambda: "mail.palomar.test", first_start, now=lambda: end - 31 * DAY)
    assert not early._self_signed_due()
    unset = Certificates(TlsConfig, lambda: "mail.palomar.test", first_start, now=lambda: 0.0)
    assert not unset._self_signed_due()


def test_a_folder_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("in the way")
    with pytest.raises(ConfigError) as caught:
        certificates(tmp_path)
    [problem] = caught.value.problems
    assert problem.setting == "tls.certificate"
    assert str(tmp_path / "tls") in problem.text
    assert problem.remedy


def test_each_server_name_gets_its_certificate(tmp_path: Path) -> None:
    default = write_pair(tmp_path, "mail.palomar.test")
    pairs = {
        "Imap.Example.org": pair_of(tmp_path, "imap.example.org"),
        "*.example.net": pair_of(tmp_path, "wild", "*.example.net"),
    }
    made = certificates(tmp_path, TlsConfig(certificate=default[0], key=default[1], names=pairs))
    assert not (tmp_path / "tls").exists()
    for asked, name in {
        "imap.example.org": "imap.example.org",
        "x.example.net": "x.example.net",
        "unknown.test": "mail.palomar.test",
        None: "mail.palomar.test",
    }.items():
        der, server = served(made, asked)
        found = read_pem(ssl.DER_cert_to_PEM_cert(der))
        assert found.covers(name)
        assert server.info().server_name == (asked or "")
        assert server.info().binding == made.binding(asked or "") == found.binding


def test_verified_clients_trust_the_authority_of_the_settings(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "mail.palomar.test")
    trust = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(trust))
    made = certificates(tmp_path, TlsConfig(certificate=certificate, key=key, trust=trust))
    server = TlsLink(made.server_context(), server_side=True)
    client = TlsLink(made.client_context(True), server_side=False, server_hostname="mail.palomar.test")
    client.start()
    shake(server, client)
    assert client.established
    assert made.client_context(True) is made.client_context(True)


def test_versions_below_the_minimum_are_refused(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "mail.palomar.test")
    made = certificates(tmp_path, TlsConfig(certificate=certificate, key=key, minimum="1.3"))
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    server, client = TlsLink(made.server_context(), server_side=True), TlsLink(old, server_side=False)
    client.start()
    with pytest.raises(TlsError, match="protocol"):
        shake(server, client)


def test_a_changed_file_is_taken_over_and_a_broken_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = write_pair(tmp_path, "mail.palomar.test")
    made = certificates(tmp_path, TlsConfig(certificate=certificate, key=key))
    before = made.server_context()
    assert not made.refresh()
    other, other_key = write_pair(tmp_path, "new", "mail.palomar.test")
    os.replace(other, certificate)  # the key follows later, as ACME clients do it
    assert not made.refresh()
    assert made.server_context() is before
    assert "does not belong" in caplog.text
    os.replace(other_key, key)
    assert made.refresh()
    assert made.server_context() is not before
    assert ssl.DER_cert_to_PEM_cert(served(made, None)[0]) in certificate.read_text()
    assert not made.refresh()
    caplog.clear()
    certificate.unlink()
    for _ in range(3):
        assert not made.refresh()
    assert caplog.text.count("not reloaded") == 1


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    good, good_key = write_pair(tmp_path, "good.test")
    _, other_key = write_pair(tmp_path, "other.test")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here")
    config = TlsConfig(
        certificate=tmp_path / "missing.pem",
        key=good_key,
        trust=empty,
        names={
            "a.test": CertificatePair(certificate=good, key=other_key),
            "b.test": CertificatePair(certificate=empty, key=good_key),
            "c.test": CertificatePair(certificate=good, key=empty),
            "d.test": CertificatePair(certificate=good, key=tmp_path / "nokey"),
        },
    )
    found = {problem.setting: problem for problem in problems(config)}
    assert "empty.pem" in found.pop("tls.trust").text
    assert {name: problem.text.rpartition("/")[2] for name, problem in found.items()} == {
        "tls.certificate": "missing.pem: No such file or directory.",
        'tls.names."a.test".key': "good.test.pem.",
        'tls.names."b.test".certificate': "empty.pem: the file holds no certificate in PEM form.",
        'tls.names."c.test".key': "empty.pem is no private key in PEM form.",
        'tls.names."d.test".key': "nokey: No such file or directory.",
    }
    assert "does not belong" in found['tls.names."a.test".key'].text
    with pytest.raises(ConfigError) as caught:
        certificates(tmp_path, config)
    assert {problem.setting for problem in caught.value.problems} == {"tls.trust", *found}


def test_a_key_with_a_password_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "mail.palomar.test")
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    [problem] = problems(TlsConfig(certificate=certificate, key=key))
    assert "protected by a password" in problem.text


def test_a_key_that_everybody_can_read_is_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = write_pair(tmp_path, "mail.palomar.test")
    key.chmod(0o644)
    certificates(tmp_path, TlsConfig(certificate=certificate, key=key))
    assert "every user of this machine can read" in caplog.text


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"certificate": Path("x")}, ["key"]),
        ({"key": Path("x")}, ["certificate"]),
        ({"names": {"x.test": CertificatePair(key=Path("x"))}}, ['names."x.test".certificate']),
        ({"names": {"x": CertificatePair()}}, ["names.x.certificate", "names.x.key"]),
    ],
)
def test_half_a_pair_is_refused_where_it_is_declared(given: dict[str, object], missing: list[str]) -> None:
    assert [problem.setting for problem in TlsConfig(**given).problems()] == missing  # type: ignore[arg-type]


def test_the_end_of_a_certificate_is_announced(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "mail.palomar.test")
    config = TlsConfig(certificate=certificate, key=key)
    end = certificates(tmp_path, config).facts()[""].not_after_at
    assert certificates(tmp_path, config, now=end - 100 * DAY).expiring() == []
    assert certificates(tmp_path, config, now=end - 3.5 * DAY).expiring() == [
        "the certificate for this machine ends in 3 days"
    ]
    assert certificates(tmp_path, config, now=end + 1).expiring() == ["the certificate for this machine has ended"]
    assert certificates(tmp_path, config, now=1000.0).expiring() == []  # the clock has never been set


async def test_the_service_follows_files_on_its_own_and_on_reload(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "mail.palomar.test")
    config = TlsConfig(certificate=certificate, key=key)
    turns: asyncio.Queue[None] = asyncio.Queue()
    sleeping = asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == POLL_S
        sleeping.set()
        await turns.get()

    async def next_look() -> None:
        sleeping.clear()
        turns.put_nowait(None)
        await sleeping.wait()

    service = Certificates(lambda: config, lambda: "mail.palomar.test", tmp_path, sleep=sleep)
    ready = asyncio.Event()
    task = asyncio.create_task(service.run(ready.set))
    await sleeping.wait()
    assert ready.is_set()
    for look in (next_look, service.reload):
        before = service.server_context()
        await look()
        assert service.server_context() is before
        for source, target in zip(write_pair(tmp_path, "new", "mail.palomar.test"), (certificate, key), strict=True):
            os.replace(source, target)
        await look()
        assert service.server_context() is not before
    task.cancel()
