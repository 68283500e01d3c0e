"""Debian's clamd with one signature of our own: EICAR is refused, all else is taken, and absence defers."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import letters, programs
from tests.e2e.appliance_process import Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import inbox

pytestmark = [pytest.mark.e2e, pytest.mark.programs("clamd")]

ANA = "ana@palomar.test"
# The test file of eicar.org, in two pieces so that no scanner takes this file for it.
EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!$H+H*"


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    folder = tmp_path_factory.mktemp("clamd")
    (folder / "own.ndb").write_text(f"Own.Eicar:0:*:{EICAR.encode().hex()}\n")
    (folder / "clamd.conf").write_text(
        f"DatabaseDirectory {folder}\nLocalSocket {folder}/ctl\nForeground yes\nLogFile {folder}/log\n"
        f"PidFile {folder}/pid\n"
    )
    process = subprocess.Popen([programs.find("clamd"), "--config-file", str(folder / "clamd.conf")])
    try:
        wait_for(lambda: process.poll() is not None or (folder / "ctl").exists(), "clamd's socket")
        assert process.poll() is None, (folder / "log").read_text()
        yield folder / "ctl", process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, clamd: tuple[Path, subprocess.Popen[bytes]]) -> Appliance:
    return make_appliance(
        top='plugins = ["spam.clamav", "spam.judge", "mda", "smtp", "imap4", "pop3", "smarthost", "relay"]',
        extra=f'[spam.clamav]\nsocket = "unix:{clamd[0]}"\n',
    )


def send(appliance: Appliance, message: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=90) as smtp:
        smtp.sendmail("a@example.org", [ANA], message)


def test_a_virus_is_refused_and_mail_is_taken(
    appliance: Appliance, clamd: tuple[Path, subprocess.Popen[bytes]]
) -> None:
    send(appliance, letters.plain("clean"))
    assert b"clean" in inbox(appliance, "clean")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(appliance, letters.plain("virus", lines=(EICAR,)))
    assert refused.value.smtp_code == 550
    assert b"Own.Eicar" in refused.value.smtp_error
    clamd[1].terminate()
    clamd[1].wait(60)
    with pytest.raises(smtplib.SMTPDataError) as deferred:
        send(appliance, letters.plain("later"))
    assert deferred.value.smtp_code == 451
