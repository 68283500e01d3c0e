"""The socket protocol: every message there and back, however the octets are cut, and nothing else."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from hw.messages import (
    MAX_CLIENT_LINE,
    MAX_PORTS,
    AddressState,
    Alive,
    Board,
    ClientMessage,
    Hello,
    Identify,
    Listeners,
    MessageReader,
    NicState,
    Note,
    Refused,
    Renew,
    State,
    Storage,
    UplinkState,
    Vitals,
    client_messages,
    encode,
    server_messages,
)

STATE = State(
    board=Board(model="Raspberry Pi 4 Model B", family="pi4", memory_mib=4096, has_wifi=True),
    vitals=Vitals(temperature_c=48.3, known=True, undervoltage_seen=True),
    nics=(NicState(name="eth0", driver="bcmgenet", bus="platform", carrier=True, speed_mbps=1000),),
    uplinks=(UplinkState(nic="eth0", metric=100, gateway="192.168.1.1", alive=True, active=True),),
    addresses=(AddressState(nic="eth0", address="192.168.1.7/24", source="dhcp"),),
    dns=("192.168.1.1",),
    hostname="palomar",
    mdns_name="palomar",
    time_state="plausible",
    storage=Storage(kind="sd", size_bytes=32_000_000_000),
    notes=(Note(source="power", level="warning", text="The supply is weak."),),
    settled=True,
)
FROM_CLIENTS: list[ClientMessage] = [
    Hello(role="mail", version="0.1.0"),
    Hello(role="command"),
    Alive(),
    Alive(full=True),
    Listeners(ports=(25, 993)),
    Listeners(),
    Renew(nic="eth0"),
    Renew(),
    Identify(seconds=5),
]


def read(reader: MessageReader[ClientMessage], *pieces: bytes) -> list[ClientMessage]:
    found = []
    for piece in pieces:
        reader.receive(piece)
        while (message := reader.next_message()) is not None:
            found.append(message)
    return found


@pytest.mark.parametrize("message", FROM_CLIENTS, ids=repr)
def test_there_and_back(message: ClientMessage) -> None:
    assert read(client_messages(), encode(message)) == [message]


@pytest.mark.parametrize("message", [STATE, State(board=Board(model="x")), Refused(reason="Only root and palomar.")])
def test_the_server_there_and_back(message: State | Refused) -> None:
    reader = server_messages()
    reader.receive(encode(message))
    assert reader.next_message() == message
    assert reader.next_message() is None


def test_a_message_is_one_line() -> None:
    note = Note(source="x", level="info", text="two\nlines \u2028 \r\n")
    wire = encode(State(board=Board(model="x"), notes=(note,)))
    assert wire.count(b"\n") == 1
    assert wire.endswith(b"\n")
    assert json.loads(wire)["type"] == "state"


@given(st.lists(st.sampled_from(FROM_CLIENTS), max_size=8), st.integers(1, 40))
def test_messages_do_not_depend_on_how_the_octets_were_cut(messages: list[ClientMessage], size: int) -> None:
    wire = b"".join(map(encode, messages))
    pieces = [wire[place : place + size] for place in range(0, len(wire), size)]
    assert read(client_messages(), *pieces) == messages


@given(st.binary(max_size=300))
def test_anything_else_is_a_protocol_error(data: bytes) -> None:
    whole, single = outcome([data]), outcome([bytes([octet]) for octet in data])
    assert whole == single


def outcome(pieces: list[bytes]) -> tuple[list[ClientMessage], bool]:
    reader = client_messages()
    found: list[ClientMessage] = []
    try:
        for piece in pieces:
            reader.receive(piece)
            while (message := reader.next_message()) is not None:
                found.append(message)
    except ProtocolError:
        return found, True
    return found, False


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"\xff",
        b'{"type":"state"}',
        b'{"type":"reboot"}',
        b'{"type":"hello"}',
        b'{"type":"hello","role":"root"}',
        b'{"type":"hello","role":"mail","version":"' + b"x" * 65 + b'"}',
        b'{"type":"listeners","ports":[0]}',
        b'{"type":"listeners","ports":[65536]}',
        b'{"type":"listeners","ports":["25"]}',
        b'{"type":"listeners","ports":[true]}',
        b'{"type":"listeners","ports":[' + b",".join([b"25"] * (MAX_PORTS + 1)) + b"]}",
        b'{"type":"renew","nic":"' + b"e" * 16 + b'"}',
        b'{"type":"identify","seconds":0}',
        b'{"type":"identify","seconds":601}',
        b"[" * 4000,
    ],
)
def test_what_is_no_message_of_a_client(line: bytes) -> None:
    reader = client_messages()
    reader.receive(line + b"\n")
    with pytest.raises(ProtocolError):
        reader.next_message()


def test_unknown_fields_are_of_a_newer_release() -> None:
    assert read(client_messages(), b'{"type":"alive","load":1}\n') == [Alive()]


def test_the_longest_line() -> None:
    start, end = b'{"type":"alive","x":"', b'"}\n'
    longest = start + b"x" * (MAX_CLIENT_LINE - len(start) - len(end)) + end
    assert len(longest) == MAX_CLIENT_LINE
    assert read(client_messages(), longest) == [Alive()]
    reader = client_messages()
    reader.receive(b"x" + longest)
    with pytest.raises(ProtocolError, match="longer than 4096"):
        reader.next_message()


def test_a_line_without_end_is_refused_as_soon_as_it_is_too_long() -> None:
    reader = client_messages()
    reader.receive(b"x" * (MAX_CLIENT_LINE - 1))
    assert reader.next_message() is None
    reader.receive(b"x")
    with pytest.raises(ProtocolError):
        reader.next_message()


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        STATE.hostname = "other"  # type: ignore[misc]
    assert msgspec.structs.replace(STATE, hostname="other").hostname == "other"
