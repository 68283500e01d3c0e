"""Lines and octets before and after the login, however TCP cuts them; and whose login a first message is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from plugins.proxy.protocol import MAX_LINE, MAX_LITERAL, Line, LineMachine, Octets
from plugins.proxy.protocol_login import NoLoginError, login_of, plain

WIRE = b"a LOGIN {3}\r\nana {5}\r\nsec\r\n\r\nb NOOP\r\n"


def events(pieces: list[bytes]) -> list[object]:
    """Lines; a line that ends in {n} is followed by that many octets, after `pass` all is octets."""
    machine = LineMachine()
    found: list[object] = []
    passed = b""
    try:
        for piece in pieces:
            machine.receive(piece)
            while (event := machine.next_event()) is not None:
                if isinstance(event, Octets) and machine._passing:
                    passed += event.data
                    continue
                found.append(event)
                if isinstance(event, Line) and event.data.endswith(b"}") and event.data[-2:-1].isdigit():
                    machine.expect(int(event.data[-2:-1]))
                if isinstance(event, Line) and event.data == b"pass":
                    machine.pass_on()
    except ProtocolError:
        assert machine.closed
        with pytest.raises(ProtocolError):
            machine.next_event()
        found.append("ProtocolError")
    return [*found, passed]


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_lines_and_literals(size: int) -> None:
    assert events([WIRE[at : at + size] for at in range(0, len(WIRE), size)]) == [
        Line(b"a LOGIN {3}"), Octets(b"ana"), Line(b" {5}"), Octets(b"sec\r\n"), Line(b""), Line(b"b NOOP"), b"",
    ]  # fmt: skip


@settings(max_examples=200)
@given(st.lists(st.sampled_from([b"a", b"{2}", b"{9}", b"\r\n", b"\r", b"\n", b"\0", b"pass", b"\xff"]), max_size=20))
def test_events_do_not_depend_on_how_tcp_cut_the_bytes(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert events([bytes([byte]) for byte in data]) == events([data])


def test_after_the_login_all_is_passed_on() -> None:
    assert events([b"x\r\npass\r\n\nany\0thing"]) == [Line(b"x"), Line(b"pass"), b"\nany\0thing"]


@pytest.mark.parametrize("data", [b"a\nb\r\n", b"a\rb\r\n", b"a\0\r\n", b"x" * (MAX_LINE + 1)])
def test_what_is_no_line_ends_it(data: bytes) -> None:
    machine = LineMachine()
    machine.receive(data)
    with pytest.raises(ProtocolError):
        machine.next_event()


def test_literals_have_a_limit() -> None:
    with pytest.raises(ProtocolError):
        LineMachine().expect(MAX_LITERAL + 1)


def test_nothing_may_come_before_tls() -> None:
    machine = LineMachine()
    machine.receive(b"x")
    with pytest.raises(ProtocolError):
        machine.start_tls()


@pytest.mark.parametrize(
    ("mechanism", "message", "login"),
    [
        ("PLAIN", b"\0ana@b.test\0secret", "ana@b.test"),
        ("PLAIN", b"ana\0ana@b.test\0secret", "ana@b.test"),
        ("PLAIN", plain("josé@b.test", "x"), "josé@b.test"),
        ("SCRAM-SHA-256", b"n,,n=ana@b.test,r=nonce", "ana@b.test"),
        ("SCRAM-SHA-1", b"y,a=other,n=a=2Cb=3Dc,r=nonce,x=y", "a,b=c"),
        ("OAUTHBEARER", b"n,a=ana@b.test,\x01host=x\x01auth=Bearer t\x01\x01", "ana@b.test"),
        ("XOAUTH2", b"user=ana@b.test\x01auth=Bearer t\x01\x01", "ana@b.test"),
    ],
)
def test_whose_login_it_is(mechanism: str, message: bytes, login: str) -> None:
    assert login_of(mechanism, message) == login


@pytest.mark.parametrize(
    ("mechanism", "message"),
    [
        ("PLAIN", b""),
        ("PLAIN", b"\0ana"),
        ("PLAIN", b"\0\0secret"),
        ("PLAIN", b"\0ana\0sec\0ret"),
        ("PLAIN", b"\0\xff\0secret"),
        ("SCRAM-SHA-256", b"p=tls-server-end-point,,n=ana,r=nonce"),
        ("SCRAM-SHA-256", b"n,,r=nonce"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer t\x01\x01"),
        ("XOAUTH2", b"auth=Bearer t\x01\x01"),
    ],
)
def test_nobodys_login(mechanism: str, message: bytes) -> None:
    with pytest.raises(NoLoginError):
        login_of(mechanism, message)
