"""The door of a real appliance: swaks, Postfix's own test client, a zombie, a harvester and a thief of passwords."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.programs import run
from tests.e2e.sink import Sink
from tests.ports import free_ports

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
WAIT_S = 0.5


@pytest.fixture(scope="module")
def inner() -> Iterator[int]:
    """The port of a server behind ours that knows nobody."""
    (port,) = free_ports(1)
    with Sink(port, refuse="550 5.1.1 who?"):
        yield port


@pytest.fixture(scope="module")
def appliance(make_appliance: Make, inner: int) -> Appliance:
    """Here every peer is a stranger, those of this machine too."""
    door = f"trusted = []\ngreet_wait = {WAIT_S}\nconnections_per_minute = 0\ntarpit_step = 0.01\nharvest_unknown = 8"
    made = make_appliance(
        inside={"relay": f'port = {inner}\nfamilies = "ipv4"'},
        extra=f"[door]\n{door}\n[door.outbound]\nmessages_per_hour = 2",
    )
    made.command("domain", "add", "inner.test", "--kind", "relay", "--next-hop", "127.0.0.1")
    return made


def test_a_zombie_is_refused_and_a_mail_server_is_not(appliance: Appliance, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", appliance.ports["mx"]), 30) as zombie:
        zombie.sendall(b"EHLO zombie.test\r\nMAIL FROM:<a@b.test>\r\nQUIT\r\n")
        said = zombie.makefile("rb").read()
    assert [line[:3] for line in said.splitlines()] == [b"554", b"503", b"503", b"221"]
    sent = letters.plain("door-swaks")
    (tmp_path / "message").write_bytes(sent.replace(b"\r\n", b"\n").removesuffix(b"\n"))
    where = ("--server", "127.0.0.1", "--port", str(appliance.ports["mx"]))
    run("swaks", *where, "--from", letters.SENDER, "--to", ANA, "--data", f"@{tmp_path}/message", home=tmp_path)
    assert letters.as_sent(inbox(appliance, "door-swaks")) == sent


@pytest.mark.programs("smtp-source")
def test_postfix_s_test_client_brings_a_hundred_messages(appliance: Appliance, tmp_path: Path) -> None:
    arguments = ("-m", "100", "-s", "10", "-l", "2000", "-f", letters.SENDER, "-t", LUIS, "-S", "door-flood")
    run("smtp-source", *arguments, f"127.0.0.1:{appliance.ports['mx']}", home=tmp_path)
    with Reader(appliance, LUIS) as reader:
        assert len(reader.find(b"door-flood")) == 100


def test_senders_in_our_name(appliance: Appliance) -> None:
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
        assert smtp.docmd("MAIL", "FROM:<nobody@palomar.test>")[0] == 503  # it has to say hello as ever
        smtp.ehlo()
        code, words = smtp.mail("nobody@palomar.test")
        assert (code, words[:5]) == (550, b"5.1.0")
        assert smtp.mail(ANA)[0] == 250


def test_the_next_host_is_asked_about_recipients(appliance: Appliance) -> None:
    for _ in range(2):
        with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
            smtp.ehlo()
            smtp.mail(letters.SENDER)
            code, words = smtp.rcpt("whoever@inner.test")
            assert (code, words[:5]) == (550, b"5.1.1")
    assert "whoever@inner.test" in appliance.command("trace", "whoever@inner.test").stdout


def submit(appliance: Appliance, subject: str, trust: Path) -> None:
    with smtplib.SMTP("127.0.0.1", appliance.ports["submission"], timeout=60) as smtp:
        smtp.starttls(context=ssl.create_default_context(cafile=str(trust)))
        smtp.login(ANA, PASSWORD)
        assert smtp.sendmail(ANA, ["friend@outside.test"], letters.plain(subject, sender=ANA)) == {}


def test_a_stolen_account_is_held_until_somebody_decides(appliance: Appliance, trust: Path) -> None:
    for number in range(4):
        submit(appliance, f"door-stolen-{number}", trust)
    assert letters.header_value(inbox(appliance, "Mail of ana@palomar.test is held"), "Return-Path") == "<>"
    status = appliance.command("status", check=False)
    assert "mail of ana@palomar.test is held: 3 messages in an hour" in status.stdout
    assert status.returncode == 3
    appliance.stop()
    appliance.start()
    submit(appliance, "door-stolen-5", trust)
    assert len(_held(appliance)) == 3
    assert "3 recipient(s) removed" in appliance.command("account", "release", ANA, "--remove").stdout
    submit(appliance, "door-mine-again", trust)
    assert _held(appliance) == []


def _held(appliance: Appliance) -> list[str]:
    return [row["recipient"] for row in appliance.queued if row["state"] == "held"]


def test_a_harvester_is_shut_out(appliance: Appliance) -> None:
    """The last test: after it nobody here is let in."""

    def guess(numbers: Iterator[int]) -> int:
        number = next(numbers)
        with smtplib.SMTP(timeout=60) as smtp:
            code, _ = smtp.connect("127.0.0.1", appliance.ports["mx"])
            if code != 220:
                return code
            smtp.ehlo()
            smtp.mail(letters.SENDER)
            return max(smtp.rcpt(f"guess{number}-{one}@palomar.test")[0] for one in range(3))

    codes = list(iter(partial(guess, iter(range(400))), 421))
    assert set(codes) == {550}
    assert "shut out" in wait_for(lambda: appliance.command("status", check=False).stdout, "status")
