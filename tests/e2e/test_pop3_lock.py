"""POP3's lock over real sockets: a client that vanished without a word keeps nobody from the mail."""

from __future__ import annotations

import poplib
import socket

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader

pytestmark = pytest.mark.e2e

ANA = "ana@palomar.test"


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    made = make_appliance(inside={"pop3": "takeover_after = 6"})
    made.deliver(letters.plain("lock small"))
    made.deliver(letters.with_attachment("lock large", letters.noise(20_000_000)))
    return made


def vanishing(appliance: Appliance, commands: bytes) -> socket.socket:
    """A client that says this and then nothing more, and reads nothing: to the server, its network has gone."""
    silent = socket.socket()
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    silent.settimeout(20)
    silent.connect(("127.0.0.1", appliance.ports["pop3"]))
    silent.sendall(f"USER {ANA}\r\nPASS {PASSWORD}\r\n".encode())
    answered = b""
    while b" octets)\r\n" not in answered:
        answered += silent.recv(1)  # no more than is needed, so that nothing makes room behind it
    silent.sendall(commands)
    return silent


def refusal(appliance: Appliance) -> str:
    """What a login is refused with; empty when it has the maildrop."""
    client = poplib.POP3("127.0.0.1", appliance.ports["pop3"], timeout=60)
    client.user(ANA)
    try:
        client.pass_(PASSWORD)
    except poplib.error_proto as error:
        return str(error)
    finally:
        client.close()
    return ""


@pytest.mark.parametrize("commands", [b"DELE 1\r\n", b"DELE 1\r\nRETR 2\r\n"], ids=["idle", "while it is sent mail"])
def test_a_silent_client_gives_way_and_has_deleted_nothing(appliance: Appliance, commands: bytes) -> None:
    with vanishing(appliance, commands) as silent:
        assert "[IN-USE]" in refusal(appliance)
        wait_for(lambda: not refusal(appliance), "the maildrop")
        # The old connection was dropped: it ends, with or without a reset, behind what was on its way.
        with pytest.raises((ConnectionError, EOFError)):
            while True:
                if not silent.recv(65536):
                    raise EOFError
    with Reader(appliance) as reader:
        assert [*reader.flags()] == ["lock small", "lock large"]


def test_a_client_that_speaks_keeps_the_maildrop(appliance: Appliance) -> None:
    client = poplib.POP3("127.0.0.1", appliance.ports["pop3"], timeout=60)
    client.user(ANA)
    client.pass_(PASSWORD)
    for _ in range(20):
        client.noop()
        assert "[IN-USE]" in refusal(appliance)
    client.quit()
    wait_for(lambda: not refusal(appliance), "the maildrop")
