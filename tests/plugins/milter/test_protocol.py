"""The milter protocol as a machine: packets whole, in pieces, byte by byte; and what no filter may say."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.mail.reply import Reply
from plugins.milter import protocol
from plugins.milter.protocol import (
    ALL_ACTS,
    MAX_PACKET,
    Act,
    Answer,
    ChangeHeader,
    DropRecipient,
    MilterMachine,
    NewBody,
    NewSender,
    Options,
    PutHeader,
    PutRecipient,
    Quarantine,
    Refuse,
    Skip,
    Stage,
    packet,
)


def options(acts: int = ALL_ACTS, skips: int = 0, version: int = 6, macros: bytes = b"") -> bytes:
    return packet(b"O", struct.pack(">III", version, acts, skips) + macros)


SPOKEN = options(macros=struct.pack(">I", 2) + b"i, {mail_addr}\0") + b"".join(
    [
        packet(b"c"),
        packet(b"p"),
        packet(b"h", b"X-One\0first\n second\0"),
        packet(b"i", struct.pack(">I", 1) + b"X-Two\0value\0"),
        packet(b"m", struct.pack(">I", 2) + b"Subject\0\0"),
        packet(b"b", b"text\r\n"),
        packet(b"e", b"<new@sender.test>\0SIZE=1\0"),
        packet(b"+", b"<a@b.test>\0"),
        packet(b"2", b"<c@d.test>\0NOTIFY=NEVER\0"),
        packet(b"-", b"<e@f.test>\0"),
        packet(b"q", b"odd\0"),
        packet(b"y", b"554 5.7.1 100%% no\0"),
        packet(b"y", b"450-4.2.0 wait\r\n450 4.2.0 a bit\0"),
        packet(b"y", b"421 gone\0"),
        packet(b"a"),
    ]
)
HEARD = [
    Options(6, ALL_ACTS, Skip(0), {Stage.MAIL: ("i", "{mail_addr}")}),
    Answer.CONTINUE,
    Answer.PROGRESS,
    PutHeader(b"X-One", b"first\n second"),
    PutHeader(b"X-Two", b"value", 1),
    ChangeHeader(b"Subject", b"", 2),
    NewBody(b"text\r\n"),
    NewSender(b"<new@sender.test>"),
    PutRecipient(b"<a@b.test>"),
    PutRecipient(b"<c@d.test>"),
    DropRecipient(b"<e@f.test>"),
    Quarantine("odd"),
    Refuse(Reply(554, "5.7.1", "100% no")),
    Refuse(Reply(450, "4.2.0", "wait\na bit")),
    Refuse(Reply(421, "4.7.1", "gone")),
    Answer.ACCEPT,
]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_everything_a_filter_can_say(size: int) -> None:
    machine, heard = MilterMachine(), []
    for start in range(0, len(SPOKEN), size):
        machine.receive(SPOKEN[start : start + size])
        while (event := machine.next_event()) is not None:
            heard.append(event)
    assert heard == HEARD


@pytest.mark.parametrize(
    "spoken",
    [
        struct.pack(">I", 0),
        struct.pack(">I", MAX_PACKET + 1),
        packet(b"Z"),
        packet(b"O", b"short"),
        options(version=1),
        options(version=7),
        options(acts=0x200),
        options(skips=int(Skip.REFUSED_RECIPIENTS)),
        options(macros=struct.pack(">I", 9) + b"i\0"),
        options(macros=struct.pack(">I", 1) + b"i"),
        options(macros=b"\0\0"),
        options(macros=struct.pack(">I", 1) + b"i " * 300 + b"\0"),
        options() + packet(b"h", b"no end"),
        options() + packet(b"h", b"X\0one\0two\0"),
        options() + packet(b"h", b"X Y\0one\0"),
        options() + packet(b"h", b"\0one\0"),
        options() + packet(b"i", b"\0"),
        options() + packet(b"y", b"250 2.0.0 fine\0"),
        options() + packet(b"y", b"550 5.0.0 no\r\n450 4.0.0 later\0"),
        options() + packet(b"y", b"\0"),
        options(acts=0) + packet(b"h", b"X\0one\0"),
        options(acts=int(Act.ADD_HEADERS)) + packet(b"b", b"text"),
    ],
)
def test_what_no_filter_may_say(spoken: bytes) -> None:
    machine = MilterMachine()
    machine.receive(spoken)
    with pytest.raises(ProtocolError):
        while machine.next_event() is not None:
            pass
    assert machine.closed
    assert machine.next_event() is None


@given(st.binary(max_size=300), st.booleans())
def test_garbage_is_an_event_or_an_error(garbage: bytes, agreed: bool) -> None:
    machine = MilterMachine()
    machine.receive((options() if agreed else b"") + garbage)
    with contextlib.suppress(ProtocolError):
        while (event := machine.next_event()) is not None:
            assert isinstance(
                event,
                Options | Answer | Refuse | PutHeader | ChangeHeader | NewBody | NewSender | PutRecipient
                | DropRecipient | Quarantine,
            )  # fmt: skip


@given(st.binary(max_size=200))
def test_a_refusal_is_always_fit_for_the_wire(text: bytes) -> None:
    machine = MilterMachine()
    machine.receive(packet(b"y", b"550 5.7.1 " + text + b"\0"))
    try:
        event = machine.next_event()
    except ProtocolError:
        return
    assert isinstance(event, Refuse)
    lines = bytes(event.reply).split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.startswith(b"550") and b"\r" not in line and b"\n" not in line for line in lines)


def test_there_is_no_tls() -> None:
    with pytest.raises(ProtocolError):
        MilterMachine().start_tls()


def test_what_we_say() -> None:
    assert protocol.connect("mx.test", "192.0.2.1", 25) == packet(b"C", b"mx.test\x004\x00\x19192.0.2.1\0")
    assert protocol.connect("mx.test", "2001:db8::1", 25) == packet(b"C", b"mx.test\x006\x00\x192001:db8::1\0")
    assert protocol.connect("localhost", "", 0) == packet(b"C", b"localhost\0U")
    assert protocol.words(b"M", [b"<a@b>", b"X\0Y=1"]) == packet(b"M", b"<a@b>\0XY=1\0")
    assert protocol.macros(Stage.MAIL, {"i": "q1", "{x}": "y"}) == packet(b"D", b"Mi\0q1\0{x}\0y\0")
    assert protocol.macros(Stage.MAIL, {}) == b""
    sizes = [len(one) - 5 for one in protocol.body(b"x" * 200_000)]
    assert sizes == [65_535, 65_535, 65_535, 3395]
