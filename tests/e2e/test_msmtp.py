"""msmtp, the sendmail of many laptops: STARTTLS, TLS, every mechanism that both know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import inbox
from tests.e2e.programs import Done, run, write_private

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"


class Msmtp:
    """Runs msmtp with a configuration for one appliance."""

    def __init__(self, appliance: Appliance, home: Path, trust: Path) -> None:
        self._home = home
        self._config = write_private(
            home / "msmtprc",
            f"""
defaults
host 127.0.0.1
from {ANA}
user {ANA}
password {PASSWORD}
tls on
tls_trust_file {trust}
account starttls
port {appliance.ports["submission"]}
tls_starttls on
account tls
port {appliance.ports["submissions"]}
tls_starttls off
account stranger : tls
password wrong
""",
        )

    def __call__(self, account: str, *arguments: str, message: bytes, statuses: tuple[int, ...] = (0,)) -> Done:
        options = ("-C", str(self._config), "-a", account)
        text = message.replace(b"\r\n", b"\n")  # what a program gives to its sendmail
        return run("msmtp", *options, *arguments, home=self._home, stdin=text, statuses=statuses)


@pytest.fixture
def msmtp(appliance: Appliance, tmp_path: Path, trust: Path) -> Msmtp:
    return Msmtp(appliance, tmp_path, trust)


@pytest.mark.parametrize("mechanism", ["on", "plain", "login", "scram-sha-256"])
@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_message_is_sent(appliance: Appliance, msmtp: Msmtp, way: str, mechanism: str) -> None:
    subject = f"msmtp-{way}-{mechanism}"
    sent = letters.awkward(subject, to=LUIS, sender=ANA)
    msmtp(way, f"--auth={mechanism}", LUIS, message=sent)
    assert letters.as_sent(inbox(appliance, subject, LUIS)) == sent


def test_recipients_from_the_header(appliance: Appliance, msmtp: Msmtp) -> None:
    sent = letters.plain("msmtp-header", to=LUIS, sender=ANA)
    msmtp("tls", "--auth=on", "-t", message=b"Bcc: ana@palomar.test\r\n" + sent)
    for account in (LUIS, ANA):
        assert letters.as_sent(inbox(appliance, "msmtp-header", account)) == sent  # msmtp takes the Bcc field out


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256"])
def test_a_wrong_password(msmtp: Msmtp, mechanism: str) -> None:
    done = msmtp("stranger", f"--auth={mechanism}", LUIS, message=letters.plain("no"), statuses=(77,))
    assert "535 5.7.8" in done.text


def test_an_unknown_recipient(msmtp: Msmtp) -> None:
    done = msmtp("tls", "--auth=on", "nobody@palomar.test", message=letters.plain("no"), statuses=(65,))
    assert "550 5.1.1" in done.text
