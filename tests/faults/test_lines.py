"""Lines that are none: stray CR and LF, NUL, lines without an end, octets at random, the wrong protocol.

Every port gives a clear refusal or closes; and what an odd line end hides is never taken for a second command.
"""

from __future__ import annotations

import random

import pytest

from tests.faults.peer import PORTS, Peer, Port, greeted, refused
from tests.faults.target import Target

pytestmark = pytest.mark.parametrize("port", PORTS, ids=str)

HARMLESS = {"smtp": b"NOOP", "imap": b"x NOOP", "pop3": b"CAPA"}
HIDDEN = {"smtp": b"HELP", "imap": b"hidden CAPABILITY", "pop3": b"CAPA"}
SHOWS = {"smtp": b"214 ", "imap": b"hidden OK", "pop3": b"+OK"}  # how an answer to the hidden command would look
GOODBYES = {"smtp": b"QUIT\r\n", "imap": b"z LOGOUT\r\n", "pop3": b"QUIT\r\n"}


def test_a_stray_line_end_hides_no_second_command(abused: Target, port: Port) -> None:
    for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\n\n", b"\r\0\n"):
        with greeted(abused, port) as peer:
            peer.send(HARMLESS[port.protocol] + end + HIDDEN[port.protocol] + b"\r\n" + GOODBYES[port.protocol])
            said = peer.rest()
        assert refused(port, said), (end, said)
        assert SHOWS[port.protocol] not in said, (end, said)


def test_nul_is_refused(abused: Target, port: Port) -> None:
    command = HARMLESS[port.protocol]
    for line in (command[:-2] + b"\0" + command[-2:], command + b" \0", b"\0"):
        with greeted(abused, port) as peer:
            peer.send(line + b"\r\n")
            assert refused(port, peer.line()), line


def test_an_over_long_line_is_refused(abused: Target, port: Port) -> None:
    least = 65_600 if port.protocol == "imap" else 20_000  # sequence sets make IMAP's lines longer
    for size in (least, 1_000_000):
        for end in (b"\r\n", b""):
            with greeted(abused, port) as peer:
                peer.send(HARMLESS[port.protocol] + b" " + b"x" * size + end)
                assert refused(port, peer.line()), (size, end)


def test_octets_at_random(abused: Target, port: Port) -> None:
    for seed in range(8):
        octets = random.Random(seed).randbytes(4000)
        with greeted(abused, port) as peer:
            peer.send(octets + b"\r\n")
            peer.half_close()
            said = peer.rest()
        assert not said or refused(port, said), (seed, said)


def test_a_browser_is_sent_away_before_its_text_is_read(abused: Target, port: Port) -> None:
    """A page may lure a browser to send this; its body would be commands."""
    for verb in (b"GET / HTTP/1.1", b"POST / HTTP/1.1"):
        with greeted(abused, port) as peer:
            peer.send(verb + b"\r\nHost: mail.palomar.test\r\n\r\n" + HIDDEN[port.protocol] + b"\r\n")
            said = peer.rest()
        assert refused(port, said), said


def test_the_other_kind_of_port(abused: Target, port: Port) -> None:
    """TLS where the dialogue begins in clear, and a command in clear where TLS is expected."""
    with Peer(abused.ports[port.name]) as peer:
        if port.tls:
            peer.send(HARMLESS[port.protocol] + b"\r\n")
            assert len(peer.rest()) < 64  # a TLS alert at most
            return
        peer.line()
        hello = b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03" + bytes(range(185))
        peer.send(hello)
        if port.protocol == "imap":
            peer.send(b"\r\n")  # there the octets are a bad line, no more
        assert refused(port, peer.line())
