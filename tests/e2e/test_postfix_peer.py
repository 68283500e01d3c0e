"""Postfix as the server that brings mail to us: by SMTP with and without TLS, by LMTP, with patience."""

from __future__ import annotations

import shutil
import smtplib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.postfix import Postfix
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.root(users=True)]

ANA, LUIS, FULL = "ana@palomar.test", "luis@palomar.test", "full@palomar.test"
INES = "ines@example.test"


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Iterator[Appliance]:
    # A socket gets the group of a folder like this one, and so Postfix may use it.
    with tempfile.TemporaryDirectory(prefix="palomar-lmtp-") as folder:
        shutil.chown(folder, group="postfix")
        Path(folder).chmod(0o2750)
        trusted = {"smtp": 'xforward_networks = ["127.0.0.0/8", "local"]'}
        made = make_appliance(accounts=(ANA, LUIS, FULL), lmtp_folder=Path(folder), inside=trusted)
        made.command("alias", "add", "ñandú@palomar.test", ANA)
        yield made


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def peer(appliance: Appliance, port: int, trust: Path) -> Iterator[Postfix]:
    """A Postfix that sends everything but its own mail to our MX port, in verified TLS."""
    settings = {
        "relayhost": f"[127.0.0.1]:{appliance.ports['mx']}",
        "smtp_tls_security_level": "verify",
        "smtp_tls_verify_cert_match": "localhost",
        "smtp_tls_CAfile": str(trust),
        "smtp_tls_loglevel": "1",
        "smtp_host_lookup": "native",
        "smtputf8_enable": "yes",
        "smtp_send_xforward_command": "yes",
    }
    with Postfix("mx.example.test", settings, ports=[port], mail_domains="example.test") as postfix:
        yield postfix


def test_mail_arrives_as_it_was_sent_over_tls(appliance: Appliance, peer: Postfix) -> None:
    sent = letters.awkward("peer-tls")
    peer.send(sent, ANA, LUIS, sender=INES)
    for account in (ANA, LUIS):
        stored = inbox(appliance, "peer-tls", account)
        assert letters.as_sent(stored, hops=2) == sent
        assert " with ESMTPS " in letters.header_value(stored, "Received")
        assert letters.header_value(stored, "Return-Path") == f"<{INES}>"
    assert "Verified TLS connection established" in peer.log.read_text()


def test_who_brought_it_to_postfix_stands_in_the_trace(appliance: Appliance, peer: Postfix, port: int) -> None:
    """By XFORWARD: its client is told of, and its queue's id."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.test", timeout=60) as smtp:
        smtp.sendmail(INES, [ANA], letters.plain("peer-xforward"))
    inbox(appliance, "peer-xforward")

    def told() -> bool:
        rows = [row["detail"] for row in appliance.ask("trace", ANA) if row["what"] == "received"]
        return any("(mx.example.test), for 127.0.0.1 (client.example.test), its id " in row for row in rows)

    wait_for(told, "the client of Postfix in the trace")


def test_addresses_and_headers_in_utf8(appliance: Appliance, peer: Postfix, port: int) -> None:
    sent = letters.plain("peer-ñandú", to="ñandú@palomar.test", sender="inés@example.test")
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
        smtp.sendmail("inés@example.test", "ñandú@palomar.test", sent, ["SMTPUTF8", "BODY=8BITMIME"])
    stored = inbox(appliance, "peer-ñandú")
    assert letters.as_sent(stored, hops=2) == sent
    assert " with UTF8SMTPS " in letters.header_value(stored, "Received")
    assert letters.header_value(stored, "Return-Path") == "<inés@example.test>"


def test_a_hundred_messages_over_kept_connections(appliance: Appliance, peer: Postfix, port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
        for number in range(100):
            smtp.sendmail(INES, [ANA, LUIS], letters.plain(f"peer-many-{number:03}", sender=INES))
    for account in (ANA, LUIS):
        with Reader(appliance, account) as reader:
            wait_for(lambda reader=reader: len(reader.find(b"peer-many-")) == 100, "a hundred messages", 60)
            subjects = [letters.header_value(message, "Subject") for message in reader.find(b"peer-many-")]
            assert sorted(subjects) == [f"peer-many-{number:03}" for number in range(100)]


def test_a_large_message(appliance: Appliance, peer: Postfix) -> None:
    sent = letters.with_attachment("peer-large", letters.noise(5_000_000))
    peer.send(sent, ANA, sender=INES)
    assert letters.as_sent(inbox(appliance, "peer-large"), hops=2) == sent


def test_an_unknown_user_bounces_at_the_peer(peer: Postfix) -> None:
    peer.send(letters.plain("peer-unknown", to="nobody@palomar.test"), "nobody@palomar.test", sender=INES)
    bounce = peer.wait("peer-unknown")
    assert b"Status: 5.1.1" in bounce
    assert b"550 5.1.1" in bounce


def test_the_peer_tries_again_after_a_4yz(appliance: Appliance, peer: Postfix) -> None:
    appliance.command("account", "quota", FULL, "1K")
    sent = letters.awkward("peer-later", to=FULL)
    peer.send(sent, FULL, sender=INES)
    reasons = wait_for(peer.delays, "a deferral at the peer")
    assert "452 4.2.2" in reasons[0]
    with Reader(appliance, FULL) as reader:
        assert reader.count() == 0
        appliance.command("account", "quota", FULL, "0")
        assert letters.as_sent(reader.wait("peer-later"), hops=2) == sent
    wait_for(lambda: peer.queue() == [], "an empty queue at the peer")


def test_the_peer_waits_while_we_are_away(appliance: Appliance, peer: Postfix) -> None:
    appliance.stop()
    sent = letters.plain("peer-away")
    peer.send(sent, ANA, sender=INES)
    wait_for(peer.delays, "a deferral at the peer")
    appliance.start()
    assert letters.as_sent(inbox(appliance, "peer-away"), hops=2) == sent


def test_lmtp_over_our_socket(appliance: Appliance) -> None:
    settings = {"default_transport": f"lmtp:unix:{appliance.lmtp}", "lmtp_destination_recipient_limit": "10"}
    appliance.command("account", "quota", FULL, "1K")
    sent = letters.awkward("peer-lmtp")
    with Postfix("hub.example.test", settings, mail_domains="example.test") as hub:
        hub.send(sent, ANA, "nobody@palomar.test", FULL, LUIS, sender=INES)
        for account in (ANA, LUIS):
            stored = inbox(appliance, "peer-lmtp", account)
            assert letters.as_sent(stored, hops=2) == sent
            assert " with LMTP " in letters.header_value(stored, "Received")
        assert b"Status: 5.1.1" in hub.wait("peer-lmtp")
        assert "4.2.2" in wait_for(hub.delays, "a deferral for the full mailbox")[0]
        appliance.command("account", "quota", FULL, "0")
        assert letters.as_sent(inbox(appliance, "peer-lmtp", FULL), hops=2) == sent
