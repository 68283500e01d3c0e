from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.tlslink import TlsError, TlsLink
from tests.appliance.certificates import client_context, server_context


def pair(server: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None) -> tuple[TlsLink, TlsLink]:
    return (
        TlsLink(server or server_context(), server_side=True),
        TlsLink(client or client_context(), server_side=False, server_hostname="localhost"),
    )


def shake(server: TlsLink, client: TlsLink, size: int = 65536) -> tuple[bytes, bytes]:
    """Carry bytes both ways, in pieces of `size`, until both sides are silent. Returns what each side read."""
    read: dict[TlsLink, bytes] = {server: b"", client: b""}
    while True:
        moved = False
        for source, target in ((client, server), (server, client)):
            data = source.outgoing()
            for start in range(0, len(data), size):
                read[target] += target.receive(data[start : start + size])
                moved = True
        if not moved:
            return read[server], read[client]


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_both_sides_agree_however_tcp_cuts_the_bytes(size: int) -> None:
    server, client = pair()
    client.start()
    shake(server, client, size)
    assert server.established
    assert client.established
    client.send(b"EHLO x\r\n" * 5000)
    server.send(b"250 ok\r\n")
    at_server, at_client = shake(server, client, size)
    assert at_server == b"EHLO x\r\n" * 5000
    assert at_client == b"250 ok\r\n"


def test_what_was_agreed_is_known_on_both_sides() -> None:
    server, client = pair()
    client.start()
    shake(server, client)
    info = client.info()
    assert info.version in ("TLSv1.2", "TLSv1.3")
    assert info.bits >= 128
    assert info.server_name == "localhost"
    assert server.info().cipher == info.cipher
    assert client.peer_certificate()
    assert server.peer_certificate() is None


def test_plain_text_may_come_with_the_last_bytes_of_the_handshake() -> None:
    server, client = pair()
    client.start()
    server.receive(client.outgoing())
    client.receive(server.outgoing())
    client.send(b"EHLO early\r\n")
    assert server.receive(client.outgoing()) == b"EHLO early\r\n"


def test_goodbye_is_told_from_a_cut() -> None:
    server, client = pair()
    client.start()
    shake(server, client)
    client.close()
    assert not server.eof
    shake(server, client)
    assert server.eof
    server.send(b"still answered")
    assert client.receive(server.outgoing()) == b"still answered"  # half-closed, as TCP can be


def test_an_untrusted_certificate_is_refused_in_words() -> None:
    server, client = pair(client=ssl.create_default_context())
    client.start()
    with pytest.raises(TlsError, match="certificate verify failed"):
        shake(server, client)
    assert not client.established
    with pytest.raises(TlsError, match="alert"):
        server.receive(client.outgoing())


def test_a_certificate_for_another_name_is_refused() -> None:
    server, client = pair(server=server_context("mail.example.org"))
    client.start()
    with pytest.raises(TlsError, match="ostname mismatch"):
        shake(server, client)


def test_sending_before_the_handshake_is_an_error() -> None:
    server, client = pair()
    with pytest.raises(TlsError):
        client.send(b"in clear?")
    server.close()
    assert server.outgoing() == b""


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=6, max_size=200))
def test_garbage_is_refused_and_nothing_else_is_raised(data: bytes) -> None:
    server, _ = pair()
    with contextlib.suppress(TlsError):
        assert server.receive(data) == b""
    assert not server.established


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=1, max_size=100), st.integers(0, 10_000))
def test_a_damaged_record_is_an_error_and_never_text(noise: bytes, place: int) -> None:
    server, client = pair()
    client.start()
    shake(server, client)
    client.send(b"MAIL FROM:<ana@palomar.test>\r\n")
    record = bytearray(client.outgoing())
    place %= len(record)
    damaged = record[:place] + bytes(byte ^ 0x55 for byte in record[place : place + len(noise)])
    with contextlib.suppress(TlsError):
        assert server.receive(bytes(damaged)) == b""
