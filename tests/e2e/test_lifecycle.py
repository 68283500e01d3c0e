"""Reload, stop, start: sessions stay, replies are finished, nothing is lost, nobody starts twice."""

from __future__ import annotations

import imaplib
import shutil
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import (
    ACCOUNTS,
    HOSTNAME,
    PASSWORD,
    Appliance,
    Certificate,
    answers,
    free_ports,
    wait_for,
)
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox

pytestmark = pytest.mark.e2e

ANA, LUIS = ACCOUNTS
MIB = 1 << 20


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    return make_appliance(
        zone="elsewhere MX 10 mx.elsewhere\nmx.elsewhere A 127.0.0.9\n", extra="[relay]\nport = 2599\n"
    )


def imap_of(appliance: Appliance) -> imaplib.IMAP4:
    imap = imaplib.IMAP4("127.0.0.1", appliance.ports["imap"], timeout=60)
    imap.login(ANA, PASSWORD)
    imap.select()
    return imap


def announced_size(appliance: Appliance) -> int:
    with smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60) as smtp:
        smtp.ehlo()
        return int(smtp.esmtp_features["size"])


def reloads(appliance: Appliance) -> int:
    return appliance.log.read_text().count("appliance.supervisor: reloaded")


def reload(appliance: Appliance) -> None:
    """Reload and wait until it is done."""
    before = reloads(appliance)
    appliance.write_config()
    appliance.reload()
    wait_for(lambda: reloads(appliance) > before, "reload")


class TestReload:
    """SIGHUP."""

    def test_a_session_survives_and_a_setting_takes_effect(self, appliance: Appliance) -> None:
        imap = imap_of(appliance)
        smtp = smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60)
        smtp.ehlo()
        smtp.mail(letters.SENDER)
        appliance.inside = {"smtp": f"max_size = {3 * MIB}"}
        reload(appliance)
        assert announced_size(appliance) == 3 * MIB
        assert imap.noop()[0] == "OK"
        assert smtp.rcpt(ANA)[0] == 250
        assert smtp.data(letters.plain("over-a-reload"))[0] == 250
        smtp.quit()
        imap.noop()
        assert imap.search(None, "SUBJECT", "over-a-reload")[1] != [b""]
        imap.logout()
        appliance.inside = {}
        reload(appliance)

    def test_an_idle_client_is_told_after_a_reload(self, appliance: Appliance) -> None:
        imap = imap_of(appliance)
        imap.send(b"i IDLE\r\n")
        assert imap.readline().startswith(b"+ ")
        reload(appliance)
        appliance.deliver(letters.plain("after-a-reload"))
        assert b" EXISTS" in imap.readline()
        imap.send(b"DONE\r\n")
        while not (line := imap.readline()).startswith(b"i OK"):
            assert line.startswith(b"* ")
        imap.logout()

    def test_a_broken_file_changes_nothing(self, appliance: Appliance) -> None:
        good = appliance.config.read_text()
        appliance.config.write_text(good.replace("[smtp]\n", "[smtp]\nmax_size = 100000\nmax_recipientz = 1\n"))
        appliance.reload()
        wait_for(lambda: "configuration not reloaded" in appliance.log.read_text(), "the refusal")
        assert "did you mean 'max_recipients'" in appliance.log.read_text().lower()
        assert announced_size(appliance) == 50 * MIB
        appliance.config.write_text(good)
        reload(appliance)

    def test_a_port_more_and_a_port_less(self, appliance: Appliance) -> None:
        (port,) = free_ports(1)
        old = appliance.ports["pop3"]
        session = socket.create_connection(("127.0.0.1", old), 20)
        assert session.recv(512).startswith(b"+OK")
        appliance.ports["pop3"] = port
        reload(appliance)
        wait_for(lambda: answers(port), "the new port")
        assert not answers(old)
        session.sendall(b"CAPA\r\n")
        assert session.recv(512).startswith(b"+OK")  # who is there may stay
        session.close()
        appliance.ports["pop3"] = old
        reload(appliance)
        wait_for(lambda: answers(old), "the old port")

    def test_certificates_replaced_on_the_disk(
        self, appliance: Appliance, issue: Callable[..., Certificate], certificate: Certificate, trust: Path
    ) -> None:
        def serial() -> int:
            context = ssl.create_default_context(cafile=str(trust))
            plain = socket.create_connection(("127.0.0.1", appliance.ports["imaps"]), 20)
            with context.wrap_socket(plain, server_hostname=HOSTNAME) as tls:
                return int(tls.getpeercert()["serialNumber"], 16)

        first = serial()
        imap = imap_of(appliance)
        issue(HOSTNAME).write(appliance.folder)
        appliance.reload()
        wait_for(lambda: serial() != first, "the new certificate")
        (appliance.folder / Certificate.CHAIN).write_text("half a certificate")
        appliance.reload()
        second = serial()
        assert second != first
        assert imap.noop()[0] == "OK"
        imap.logout()
        certificate.write(appliance.folder)
        appliance.reload()
        wait_for(lambda: serial() == first, "the first certificate again")

    @pytest.mark.slow
    def test_a_certificate_is_seen_without_being_told(
        self, make_appliance: Make, issue: Callable[..., Certificate], trust: Path
    ) -> None:
        made = make_appliance(certificate=issue("first.test", HOSTNAME))
        context = ssl.create_default_context(cafile=str(trust))

        def serves(name: str) -> bool:
            with socket.create_connection(("127.0.0.1", made.ports["submissions"]), 20) as plain:
                try:
                    with context.wrap_socket(plain, server_hostname=name):
                        return True
                except ssl.SSLCertVerificationError:
                    return False

        assert serves("first.test")
        issue("second.test", HOSTNAME).write(made.folder)
        wait_for(lambda: serves("second.test"), "the new certificate", 70)
        assert not serves("first.test")


class TestStop:
    """SIGTERM, SIGINT, and what is there afterwards."""

    def test_a_message_in_flight_is_answered_and_kept(self, appliance: Appliance) -> None:
        sent = letters.with_attachment("in-flight", letters.noise(2 * MIB))
        smtp = smtplib.SMTP("127.0.0.1", appliance.ports["mx"], timeout=60)
        smtp.ehlo()
        smtp.mail(letters.SENDER)
        smtp.rcpt(ANA)
        assert smtp.docmd("DATA")[0] == 354
        assert smtp.sock is not None
        half = len(sent) // 2
        smtp.sock.sendall(sent[:half])
        process = appliance.process
        assert process is not None
        process.terminate()
        wait_for(lambda: not answers(appliance.ports["mx"]), "closed doors")
        smtp.sock.sendall(sent[half:] + b".\r\n")
        code, text = smtp.getreply()
        assert code == 250, text
        smtp.close()
        assert appliance.stop() == 0
        appliance.start()
        assert letters.as_sent(inbox(appliance, "in-flight")) == sent

    def test_clients_are_told_goodbye(self, appliance: Appliance) -> None:
        idle, quiet = imap_of(appliance), imap_of(appliance)
        idle.send(b"i IDLE\r\n")
        idle.readline()
        smtp = socket.create_connection(("127.0.0.1", appliance.ports["mx"]), 20)
        smtp.recv(512)
        begun = time.monotonic()
        assert appliance.stop() == 0
        assert time.monotonic() - begun < 9  # less than the grace of those that do not go
        for imap in (idle, quiet):
            assert imap.readline().startswith(b"* BYE ")
        assert smtp.recv(512).startswith(b"421 ")
        appliance.start()

    def test_a_restart_keeps_everything(self, appliance: Appliance) -> None:
        with Reader(appliance) as reader:
            reader.append(letters.awkward("kept"), "Archive", "(\\Flagged $Work)")
            before = reader.messages("Archive"), reader.flags("Archive"), reader.status("Archive")
        appliance.command("send", "-f", ANA, "someone@elsewhere.test", stdin=letters.plain("waits").decode())
        row = wait_for(lambda: [one for one in appliance.queued if one["attempts"]], "a deferral")[0]
        trace = appliance.ask("trace", "someone@elsewhere.test")
        assert trace
        assert appliance.stop() == 0
        waiting = [one["recipient"] for one in appliance.ask("queue", "list")]
        assert waiting == ["someone@elsewhere.test"]  # no need to run
        appliance.start()
        with Reader(appliance) as reader:
            assert (reader.messages("Archive"), reader.flags("Archive"), reader.status("Archive")) == before
        again = appliance.queued
        assert [one["name"] for one in again] == [row["name"]]
        assert appliance.ask("trace", "someone@elsewhere.test")[: len(trace)] == trace
        appliance.command("queue", "remove", "--all", "--yes")

    def test_a_kill_loses_nothing_that_was_answered(self, appliance: Appliance) -> None:
        for number in range(20):
            appliance.deliver(letters.awkward(f"killed-{number:02}"))
        appliance.kill()
        appliance.start()
        with Reader(appliance) as reader:
            found = reader.find(b"killed-")
        assert [letters.as_sent(one) for one in found] == [
            letters.awkward(f"killed-{number:02}") for number in range(20)
        ]

    def test_ctrl_c_stops_it_too(self, appliance: Appliance) -> None:
        process = appliance.process
        assert process is not None
        process.send_signal(2)
        assert process.wait(20) == 0
        appliance.stop()
        appliance.start()


class TestOnlyOne:
    """One data folder, one process."""

    def test_a_second_start_is_refused_in_words(self, appliance: Appliance, tmp_path: Path) -> None:
        other = Appliance(tmp_path / "other", certificate=appliance.certificate)
        text = other.config.read_text().replace('data = "data"', f'data = "{appliance.folder / "data"}"')
        other.config.write_text(text)
        done = other.command("run", check=False)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert str(appliance.folder / "data") in done.stderr
        assert "in use" in done.stderr or "already" in done.stderr or "runs" in done.stderr
        with Reader(appliance) as reader:
            reader.count()  # the first one did not notice

    def test_a_command_goes_through_the_running_one(self, appliance: Appliance) -> None:
        imap = imap_of(appliance)
        appliance.command("mailbox", "create", ANA, "Made outside")
        assert any(b"Made outside" in row for row in imap.list()[1])
        imap.logout()

    def test_a_copy_of_the_data_folder_serves_the_same_mail(self, tmp_path: Path, appliance: Appliance) -> None:
        copy = tmp_path / "copy"
        appliance.stop()
        shutil.copytree(appliance.folder / "data", copy / "data")
        appliance.start()
        moved = Appliance(copy)
        with moved, Reader(moved) as reader, Reader(appliance) as original:
            assert reader.messages("Archive") == original.messages("Archive")
