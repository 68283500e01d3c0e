"""STARTTLS in all three protocols: nothing that was said in clear counts once TLS is up (CVE-2011-0411 and its kin)."""

from __future__ import annotations

import base64
import ssl

import pytest

from tests.e2e.appliance_process import ACCOUNTS, PASSWORD
from tests.faults.peer import PORTS, UPGRADES, Peer, Port, greeted, refused
from tests.faults.target import Target

CLEAR = [port for port in PORTS if not port.tls]
INJECTED = {
    "smtp": b"EHLO injected.test\r\nMAIL FROM:<>\r\n",
    "imap": b"i1 NOOP\r\ni2 CAPABILITY\r\n",
    "pop3": b"CAPA\r\nUSER ana@palomar.test\r\n",
}

by_port = pytest.mark.parametrize("port", CLEAR, ids=str)


def upgraded(appliance: Target, port: Port) -> Peer:
    peer = greeted(appliance, port)
    if port.protocol == "smtp":
        peer.say("EHLO before.test")
    peer.send(UPGRADES[port.protocol])
    assert not refused(port, peer.line())
    peer.start_tls()
    return peer


@by_port
def test_commands_behind_it_in_the_same_packet_end_the_connection(abused: Target, port: Port) -> None:
    with greeted(abused, port) as peer:
        if port.protocol == "smtp":
            peer.say("EHLO before.test")
        peer.send(UPGRADES[port.protocol] + INJECTED[port.protocol])
        said = peer.rest()
    assert refused(port, said), said
    assert said.count(b"\r\n") == 1, said


@by_port
def test_a_handshake_in_the_same_packet_is_no_handshake(abused: Target, port: Port) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    hello = context.wrap_bio(incoming, outgoing, server_hostname="mail.palomar.test")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with greeted(abused, port) as peer:
        peer.send(UPGRADES[port.protocol] + outgoing.read())
        assert refused(port, peer.rest())


@by_port
def test_commands_in_clear_instead_of_the_handshake(abused: Target, port: Port) -> None:
    with greeted(abused, port) as peer:
        peer.send(UPGRADES[port.protocol])
        peer.line()
        peer.send(INJECTED[port.protocol])
        said = peer.rest()
    assert len(said) < 64, said  # a TLS alert at most
    assert b"OK" not in said


@by_port
def test_a_handshake_that_is_cut_off(abused: Target, port: Port) -> None:
    with greeted(abused, port) as peer:
        peer.send(UPGRADES[port.protocol])
        peer.line()
        peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        peer.half_close()
        assert len(peer.rest()) < 64


@by_port
def test_a_second_upgrade_is_refused(abused: Target, port: Port) -> None:
    with upgraded(abused, port) as peer:
        peer.send(UPGRADES[port.protocol])
        assert refused(port, peer.line())


@pytest.mark.parametrize("name", ["mx", "submission"])
def test_smtp_forgets_hello_and_transaction(abused: Target, name: str) -> None:
    with greeted(abused, Port(name, "smtp")) as peer:
        peer.say("EHLO before.test")
        if name == "mx":
            assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
        peer.send(b"STARTTLS\r\n")
        assert peer.line().startswith(b"220 ")
        peer.start_tls()
        assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"503 ")
        assert peer.say("RCPT TO:<ana@palomar.test>").startswith(b"503 ")
        assert b"STARTTLS" not in peer.say("EHLO after.test")


def test_smtp_forgets_a_login_made_in_clear(abused: Target) -> None:
    plain = base64.b64encode(f"\0{ACCOUNTS[0]}\0{PASSWORD}".encode()).decode()
    with greeted(abused, Port("submission", "smtp")) as peer:
        peer.say("EHLO before.test")
        assert peer.say(f"AUTH PLAIN {plain}").startswith(b"235 ")
        assert peer.say("STARTTLS")[:3] in {b"220", b"503"}
        peer.start_tls()
        peer.say("EHLO after.test")
        assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}>").startswith(b"530 ")


def test_imap_has_no_way_back_to_before_the_login(abused: Target) -> None:
    """STARTTLS after a login would mix two sessions (session fixation)."""
    with greeted(abused, Port("imap", "imap")) as peer:
        assert b"c OK" in peer.command(f'LOGIN {ACCOUNTS[0]} "{PASSWORD}"')
        assert peer.command("STARTTLS").startswith(b"c BAD")
        assert peer.command("NOOP").startswith(b"c OK")


def test_pop3_forgets_the_name_given_in_clear(abused: Target) -> None:
    with greeted(abused, Port("pop3", "pop3")) as peer:
        peer.send(f"USER {ACCOUNTS[0]}\r\n".encode())
        assert peer.line().startswith(b"+OK")
        peer.send(b"STLS\r\n")
        assert peer.line().startswith(b"+OK")
        peer.start_tls()
        peer.send(f"PASS {PASSWORD}\r\n".encode())
        assert peer.line().startswith(b"-ERR")
