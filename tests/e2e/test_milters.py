"""Filters that nobody here wrote, by their milters: opendkim signs and checks, opendmarc refuses."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import letters, programs
from tests.e2e.appliance_process import PASSWORD, Appliance, answers, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.programs("opendkim", "opendkim-genkey", "opendmarc")]

CONFIG_OPTION = {"opendkim": "-x", "opendmarc": "-c"}
ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


@contextmanager
def daemon(program: str, config: str, folder: Path, port: int) -> Iterator[None]:
    """A filter in the foreground, from its start to its end."""
    file = folder / f"{program}.conf"
    file.write_text(config)
    log = folder / f"{program}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [programs.find(program), "-f", CONFIG_OPTION[program], str(file)], stdout=out, stderr=out
        )
    try:
        wait_for(lambda: process.poll() is not None or answers(port), f"{program} at its port")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def opendkim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """It signs for palomar.test whoever has logged in, and checks the others by a file of keys."""
    folder, (port,) = tmp_path_factory.mktemp("opendkim"), free_ports(1)
    programs.run("opendkim-genkey", "-b", "2048", "-d", "palomar.test", "-s", "mail", home=folder)
    key = "".join((folder / "mail.txt").read_text().split('"')[1::2])
    (folder / "keys").write_text(f"mail._domainkey.palomar.test {key}\n")
    (folder / "nobody").write_text("192.0.2.1\n")
    config = f"""
Mode sv
Domain palomar.test
Selector mail
KeyFile {folder}/mail.private
TestPublicKeys {folder}/keys
InternalHosts {folder}/nobody
Socket inet:{port}@127.0.0.1
RequireSafeKeys no
Syslog no
"""
    with daemon("opendkim", config, folder, port):
        yield port


@pytest.fixture(scope="module")
def opendmarc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """It refuses messages without the fields that they must have. It asks no DNS about our test's sender."""
    folder, (port,) = tmp_path_factory.mktemp("opendmarc"), free_ports(1)
    (folder / "nobody").write_text("192.0.2.1\n")
    config = f"""
RequiredHeaders true
IgnoreHosts {folder}/nobody
IgnoreMailFrom example.org,palomar.test
Socket inet:{port}@127.0.0.1
Syslog false
"""
    with daemon("opendmarc", config, folder, port):
        yield port


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, opendkim: int, opendmarc: int) -> Appliance:
    return make_appliance(
        top='plugins = ["milter", "mda", "smtp", "imap4", "pop3", "smarthost", "relay"]',
        extra=f"""
[[milter.filters]]
name = "opendkim"
socket = "127.0.0.1:{opendkim}"
timeout = 4
content_timeout = 25

[[milter.filters]]
name = "opendmarc"
socket = "inet:127.0.0.1:{opendmarc}"
roles = ["mx"]
timeout = 4
content_timeout = 25
""",
    )


def submit(appliance: Appliance, message: bytes, trust: Path) -> None:
    with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], timeout=60) as smtp:
        smtp.starttls(context=ssl.create_default_context(cafile=str(trust)))
        smtp.login(ANA, PASSWORD)
        smtp.sendmail(ANA, [LUIS], message)


def verdict(message: bytes) -> str:
    """What opendkim wrote."""
    return letters.header_value(message, "Authentication-Results")


def test_opendkim_signs_what_our_people_send_and_checks_what_comes_back(appliance: Appliance, trust: Path) -> None:
    submit(appliance, letters.plain("signed", to=LUIS, sender=ANA), trust)
    signed = inbox(appliance, "signed", LUIS)
    assert "d=palomar.test; s=mail" in letters.header_value(signed, "DKIM-Signature").replace("\r\n\t", " ")
    again = signed[signed.index(b"DKIM-Signature:") :]
    appliance.deliver(again, ANA, sender=LUIS)
    assert "dkim=pass" in verdict(inbox(appliance, "This is signed.", ANA))
    appliance.deliver(again.replace(b"This is signed.", b"This is forged."), LUIS, sender=LUIS)
    assert "dkim=fail" in verdict(inbox(appliance, "This is forged.", LUIS))


def test_opendmarc_refuses_in_its_own_words(appliance: Appliance) -> None:
    appliance.deliver(letters.plain("whole"), ANA)
    assert b"This is whole." in inbox(appliance, "whole", ANA)
    with (
        smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp,
        pytest.raises(smtplib.SMTPDataError) as at,
    ):
        smtp.sendmail("ines@elsewhere.test", [ANA], b"Subject: nobody wrote this\r\n\r\ntext\r\n")
    assert at.value.smtp_code == 550


def test_mail_waits_while_a_filter_is_away(make_appliance: Make) -> None:
    (port,) = free_ports(1)
    alone = make_appliance(
        top='plugins = ["milter", "mda", "smtp", "imap4", "pop3", "smarthost", "relay"]',
        extra=f'[[milter.filters]]\nsocket = "127.0.0.1:{port}"\n',
    )
    with pytest.raises(smtplib.SMTPSenderRefused) as at:
        alone.deliver(letters.plain("too early"), ANA)
    assert at.value.smtp_code == 451
    wait_for(lambda: f"milter 127.0.0.1:{port}: " in alone.log.read_text(), "a word in the log")
