"""Peers that behave badly without saying anything wrong: slow, half gone, too many, and those that never read."""

from __future__ import annotations

import threading
import time

import pytest

from tests.e2e.appliance_process import ACCOUNTS
from tests.faults.conftest import MOST, MOST_PER_PEER
from tests.faults.peer import PORTS, UPGRADES, Peer, Port, deliver, greeted, imap, last_number, pop3, refused, smtp
from tests.faults.target import Target

CUT_S = 10.0  # the longest wait that is set (5 s) and as much again: by then whoever idles is cut off
DEADLINE_S = 24.0  # the same for a whole message (12 s)

by_port = pytest.mark.parametrize("port", PORTS, ids=str)
CLEAR = [port for port in PORTS if not port.tls]


# ── slow ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def drip(peer: Peer, data: bytes, seconds: float, pause: float = 0.2) -> float:
    """Send octet by octet, a pause after each; returns after how many seconds the server ended it."""
    started = time.monotonic()
    for octet in data:
        peer.send(bytes([octet]))
        peer.sock.settimeout(pause)
        try:
            heard = peer.sock.recv(65536)
            peer.got += heard
            if not heard:
                break
        except TimeoutError:
            continue
        except OSError:
            break
        finally:
            if time.monotonic() - started > seconds:
                raise AssertionError(f"not cut off within {seconds:g} s; it said {peer.got[-200:]!r}")
    return time.monotonic() - started


def test_whoever_says_nothing_or_drips_is_cut_off(abused: Target) -> None:
    """On every port at once: silence, a command octet by octet, a handshake octet by octet, a literal, a login."""
    failures: list[str] = []

    def trickled(what: str, peer: Peer, data: bytes, seconds: float) -> None:
        try:
            with peer:
                drip(peer, data, seconds)
        except AssertionError as error:
            failures.append(f"{what}: {error}")

    def silent(what: str, peer: Peer, seconds: float) -> None:
        try:
            with peer:
                peer.rest(seconds)
        except AssertionError as error:
            failures.append(f"{what}: {error}")

    threads = []

    def at_once(target: object, *arguments: object) -> None:
        threads.append(threading.Thread(target=target, args=arguments, daemon=True))  # type: ignore[arg-type]

    for port in PORTS:
        at_once(silent, f"silence on {port}", greeted(abused, port), CUT_S)
        at_once(trickled, f"a command on {port}", greeted(abused, port), b"x" * 200, CUT_S)
    for port in CLEAR:
        peer = greeted(abused, port)
        peer.send(UPGRADES[port.protocol])
        peer.line()
    literal = greeted(abused, Port("imap", "imap"))
    literal.send(b"a LOGIN {500+}\r\n")
    at_once(trickled, "a literal", literal, b"x" * 200, CUT_S)
    sasl = greeted(abused, Port("imap", "imap"))
    sasl.send(b"a AUTHENTICATE PLAIN\r\n")
    sasl.line()
    at_once(trickled, "an answer of AUTHENTICATE", sasl, b"A" * 200, CUT_S)
    text = smtp(abused)
    text.send(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<ana@palomar.test>\r\nDATA\r\n")
    assert [text.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
    at_once(trickled, "a message", text, b"Subject: slow\r\n\r\n" + b"x\r\n" * 100, DEADLINE_S)
    chunk = smtp(abused)
    chunk.send(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<ana@palomar.test>\r\nBDAT 5000 LAST\r\n")
    assert [chunk.reply()[:3] for _ in range(2)] == [b"250", b"250"]
    at_once(trickled, "a chunk", chunk, b"x" * 200, DEADLINE_S)
    appended = imap(abused)
    appended.send(b"a APPEND INBOX {500}\r\n")
    appended.line()
    at_once(silent, "a message of APPEND", appended, CUT_S)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S + 5)
    assert not failures, "\n".join(failures)


# ── half gone ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_half_closed_peer_gets_all_answers_that_are_due(abused: Target) -> None:
    with smtp(abused) as peer:
        peer.send(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<ana@palomar.test>\r\nBDAT 47 LAST\r\n")
        peer.send(b"From: a@outside.test\r\nSubject: half\r\n\r\nclosed\r\n")
        peer.half_close()
        assert [line[:3] for line in peer.rest().splitlines()] == [b"250"] * 3
    with imap(abused) as peer:
        peer.send(b"a STATUS INBOX (MESSAGES)\r\nb NOOP\r\nc CAPAB")
        peer.half_close()
        said = peer.rest()
        assert b"a OK" in said
        assert b"b OK" in said
        assert b"c " not in said
    with pop3(abused) as peer:
        peer.send(b"NOOP\r\nSTAT\r\nNO")
        peer.half_close()
        assert [line[:3] for line in peer.rest().splitlines()] == [b"+OK", b"+OK"]


def test_a_message_that_stops_half_way_is_no_message(abused: Target) -> None:
    with imap(abused) as reader:
        before = last_number(reader)
        for vanish in (Peer.half_close, Peer.close, Peer.reset):
            for begin in (b"DATA\r\n", b"BDAT 5000 LAST\r\n"):
                peer = smtp(abused)
                peer.send(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<ana@palomar.test>\r\n" + begin)
                for _ in range(3 if begin == b"DATA\r\n" else 2):
                    peer.reply()
                peer.send(b"Subject: half\r\n\r\nof it\r\n")
                vanish(peer)
        peer.close()
        assert last_number(reader) == before


@by_port
def test_peers_that_vanish_at_once(abused: Target, port: Port) -> None:
    for vanish in (Peer.close, Peer.reset, Peer.half_close):
        peers = []
        for _ in range(40):
            peer = Peer(abused.ports[port.name])
            vanish(peer)
            peers.append(peer)
        for peer in peers:
            peer.close()
    comes_in_again(abused, port, "127.0.0.1")


# ── too many ──────────────────────────────────────────────────────────────────────────────────────────────────────


def turned_away(port: Port, peer: Peer) -> bool:
    """Whether a new connection was refused: with words where the port begins in clear."""
    said = peer.rest()
    return said == b"" if port.tls else refused(port, said)


@by_port
def test_a_flood_from_one_address_is_stopped_at_its_limit(abused: Target, port: Port) -> None:
    source = "127.0.0.99"
    number = abused.ports[port.name]
    flood = [Peer(number, source=source) for _ in range(MOST_PER_PEER)]
    try:
        if not port.tls:
            for peer in flood:
                peer.line()
        with Peer(number, source=source) as one_more:
            assert turned_away(port, one_more)
        with greeted(abused, port, source="127.0.0.98"):
            pass  # others still come in
    finally:
        for peer in flood:
            peer.reset()
    comes_in_again(abused, port, source)


def comes_in_again(target: Target, port: Port, source: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            greeted(target, port, source=source).close()
            return
        except (AssertionError, OSError):
            assert time.monotonic() < end, "the address stays shut out"


@pytest.mark.parametrize("port", [PORTS[0], PORTS[3], PORTS[5]], ids=str)
def test_a_flood_from_everywhere_is_stopped_at_the_limit_of_all(abused: Target, port: Port) -> None:
    number = abused.ports[port.name]
    flood = [Peer(number, source=f"127.0.1.{n % 200 + 1}") for n in range(MOST + 20)]
    try:
        away = 0
        for peer in flood:
            away += refused(port, peer.line())
        assert 20 <= away <= 25  # the clients that behave hold a few places
    finally:
        for peer in flood:
            peer.reset()
    comes_in_again(abused, port, "127.0.1.1")


def test_a_flood_of_logins(abused: Target) -> None:
    """Hashing is slow by design; nobody else waits for it."""
    peers = [greeted(abused, Port("imap", "imap"), source=f"127.0.2.{n + 1}") for n in range(100)]
    try:
        for n, peer in enumerate(peers):
            peer.send(f"a LOGIN nobody{n}@palomar.test wrong{n}\r\n".encode())
        for peer in peers:
            assert peer.line().startswith(b"a NO ")
    finally:
        for peer in peers:
            peer.close()


# ── those that never read ─────────────────────────────────────────────────────────────────────────────────────────

BIG = 12 << 20
READERS = 8


@pytest.fixture(scope="module")
def big(target: Target) -> int:
    """The octets of one large message that waits for luis."""
    text = "From: a@outside.test\r\nSubject: big\r\n\r\n" + ("x" * 998 + "\r\n") * (BIG // 1000)
    with smtp(target) as peer:
        peer.send(f"MAIL FROM:<a@outside.test>\r\nRCPT TO:<{ACCOUNTS[0]}>\r\nDATA\r\n".encode())
        assert [peer.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        peer.send(text.encode() + b".\r\n")
        assert peer.reply().startswith(b"250 ")
    return len(text)


def test_imap_clients_that_never_read_a_big_message(big: int, abused: Target) -> None:
    readers = [imap(abused, window=4096) for _ in range(READERS)]
    try:
        number = last_number(readers[0])
        for reader in readers[1:]:
            last_number(reader)
        for reader in readers:
            reader.send(b"a FETCH %d BODY.PEEK[]\r\n" % number * 20)
        time.sleep(1.5)
        readers[0].sock.settimeout(10)
        assert readers[0].until(b"Subject: big", 10)
    finally:
        for reader in readers:
            reader.reset()


def test_a_pop3_client_that_never_reads(big: int, abused: Target) -> None:
    with pop3(abused, window=4096) as reader:
        reader.send(b"RETR 1\r\n" * 100 + b"LIST\r\nUIDL\r\n" * 200)
        time.sleep(1.0)


def test_a_sender_that_never_reads_the_answers(abused: Target) -> None:
    """Whoever pipelines without end and reads nothing is no longer read."""
    with Peer(abused.ports["mx"], window=4096) as peer:
        peer.sock.settimeout(1.0)
        sent = 0
        with pytest.raises(OSError):  # a time-out: the kernel's buffers are full, or the end of it
            while sent < 64 << 20:
                sent += peer.sock.send(b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRSET\r\n" * 1000)
    assert sent < 32 << 20


def test_an_idler_that_never_reads_its_news(abused: Target) -> None:
    with imap(abused, window=4096) as idler:
        assert b"c OK" in idler.command("SELECT INBOX")
        idler.send(b"a IDLE\r\n")
        assert idler.line().startswith(b"+")
        for n in range(50):
            assert deliver(abused, f"From: a@outside.test\r\nSubject: news {n}\r\n\r\ntext\r\n").startswith(b"250")
