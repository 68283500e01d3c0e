"""Logins by client certificate (curl, msmtp, imaplib) and by NTLM (curl) at a running appliance."""

from __future__ import annotations

import imaplib
import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.e2e import letters
from tests.e2e.appliance_process import HOSTNAME, PASSWORD, Appliance, Certificate
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.e2e.programs import run

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
WAYS = ("smtp", "smtps", "imap", "imaps", "pop3", "pop3s")


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, trust: Path) -> Appliance:
    made = make_appliance(
        top='plugins = ["ntlm", "mda", "smtp", "imap4", "pop3", "relay"]',
        inside={"tls": f'client_ca = "{trust}"', "ntlm": 'domain = "palomar.test"'},
    )
    made.command("account", "weak", ANA, "on", "--password-stdin", stdin=PASSWORD + "\n")
    return made


@pytest.fixture
def ana(issue: Callable[..., Certificate], tmp_path: Path) -> Path:
    """The folder where ana's certificate and key are."""
    issue(ANA).write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
def test_curl(appliance: Appliance, ana: Path, trust: Path, way: str) -> None:
    port = appliance.ports[{"smtp": "submission", "smtps": "submissions"}.get(way, way)]
    options = ["-sSv", "-m", "60", "--cacert", str(trust), "--ssl-reqd", "-u", f"{ANA}:"]
    options += ["--cert", Certificate.CHAIN, "--key", Certificate.KEY, "--login-options", "AUTH=EXTERNAL"]
    if way.startswith("smtp"):
        sent = letters.plain(f"certified {way}", to=LUIS, sender=ANA)
        (ana / "letter").write_bytes(sent)
        options += ["--mail-from", ANA, "--mail-rcpt", LUIS, "-T", "letter"]
    done = run("curl", *options, f"{way}://127.0.0.1:{port}/", home=ana)
    if way.startswith("smtp"):
        stored = inbox(appliance, f"certified {way}", LUIS)
        assert letters.as_sent(stored) == sent
        assert " with ESMTPSA " in letters.header_value(stored, "Received")
    assert ("AUTH EXTERNAL" in done.text) or ("AUTHENTICATE EXTERNAL" in done.text)


def test_msmtp(appliance: Appliance, ana: Path, trust: Path) -> None:
    options = (
        "--file=/dev/null", "--host=127.0.0.1", f"--port={appliance.ports['submission']}", "--tls=on",
        f"--tls-trust-file={trust}", f"--tls-cert-file={ana / Certificate.CHAIN}",
        f"--tls-key-file={ana / Certificate.KEY}", "--auth=external", f"--user={ANA}", f"--from={ANA}", "--", LUIS,
    )  # fmt: skip
    run("msmtp", *options, stdin=f"From: {ANA}\nTo: {LUIS}\nSubject: msmtp external\n\nhello\n".encode(), home=ana)
    assert b"hello" in inbox(appliance, "msmtp external", LUIS)


def connect(appliance: Appliance, trust: Path, folder: Path | None) -> imaplib.IMAP4:
    context = ssl.create_default_context(cafile=str(trust))
    if folder is not None:
        context.load_cert_chain(folder / Certificate.CHAIN, folder / Certificate.KEY)
    return imaplib.IMAP4_SSL("localhost", appliance.ports["imaps"], ssl_context=context, timeout=60)


def test_a_certificate_is_nobody_else_s(appliance: Appliance, ana: Path, trust: Path) -> None:
    with connect(appliance, trust, ana) as imap:
        assert "AUTH=EXTERNAL" in imap.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap.authenticate("EXTERNAL", lambda _: LUIS.encode())
        imap.authenticate("EXTERNAL", lambda _: ANA.encode())


def test_passwords_go_on_without_one(appliance: Appliance, trust: Path) -> None:
    with connect(appliance, trust, None) as imap:
        assert "AUTH=EXTERNAL" not in imap.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="CANNOT"):
            imap.authenticate("EXTERNAL", lambda _: ANA.encode())
        imap.login(ANA, PASSWORD)


def test_a_certificate_of_strangers(appliance: Appliance, tmp_path: Path, trust: Path) -> None:
    """It ends the handshake where logins are; to the MX port it is nothing."""
    made = trustme.CA().issue_cert(ANA)
    Certificate(b"".join(pem.bytes() for pem in made.cert_chain_pems), made.private_key_pem.bytes()).write(tmp_path)
    with pytest.raises((ssl.SSLError, ConnectionError, imaplib.IMAP4.abort)):
        connect(appliance, trust, tmp_path)
    context = ssl.create_default_context(cafile=str(trust))
    context.load_cert_chain(tmp_path / Certificate.CHAIN, tmp_path / Certificate.KEY)
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
        smtp._host = HOSTNAME  # type: ignore[attr-defined]  # what the certificate is checked against
        smtp.starttls(context=context)
        smtp.sendmail("ines@example.org", [ANA], letters.plain("from a server with a certificate"))
    assert b"from a server" in inbox(appliance, "from a server with a certificate", ANA)


@pytest.mark.parametrize("user", [ANA, "ana", "OFFICE\\ana"])
@pytest.mark.parametrize("way", ["smtp", "imap", "pop3"])
def test_curl_by_ntlm(appliance: Appliance, tmp_path: Path, trust: Path, way: str, user: str) -> None:
    port = appliance.ports[{"smtp": "submission"}.get(way, way)]
    options = ["-sSv", "-m", "60", "--cacert", str(trust), "--ssl-reqd", "--login-options", "AUTH=NTLM"]
    if way == "smtp":
        sent = letters.plain(f"ntlm <{user}>", to=LUIS, sender=ANA)
        (tmp_path / "letter").write_bytes(sent)
        options += ["--mail-from", ANA, "--mail-rcpt", LUIS, "-T", "letter"]
    where = f"{way}://127.0.0.1:{port}/"
    done = run("curl", *options, "-u", f"{user}:{PASSWORD}", where, home=tmp_path)
    assert "NTLM" in done.text
    if way == "smtp":
        assert letters.as_sent(inbox(appliance, f"ntlm <{user}>", LUIS)) == sent


@pytest.mark.parametrize("login", [f"{ANA}:wrong", f"{LUIS}:{PASSWORD}"], ids=["wrong", "not opted in"])
def test_curl_is_refused_by_ntlm(appliance: Appliance, tmp_path: Path, trust: Path, login: str) -> None:
    options = ("-sSv", "-m", "60", "--cacert", str(trust), "--ssl-reqd", "--login-options", "AUTH=NTLM", "-u", login)
    done = run("curl", *options, f"imap://127.0.0.1:{appliance.ports['imap']}/", home=tmp_path, statuses=(67,))
    assert "AUTHENTICATIONFAILED" in done.text
