"""XFORWARD as a client: what is told of a message, to whom, and that nothing hangs on the answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.mail.received import received_field
from appliance.smtpclient.forward import MAX_LINE, forwarding
from plugins.smtp.protocol_forwarder import XFORWARD, attributes
from tests.appliance.smtpclient.fake_server import FULL, FakeServer, always
from tests.appliance.smtpclient.test_client import connected, envelope, short, to

ALL = "NAME ADDR PORT PROTO HELO IDENT SOURCE"
WITH = (*FULL, f"XFORWARD {ALL}")
SLOW = tuple(name for name in WITH if name != "PIPELINING")


def received(helo: str = "client.test", ip: str = "192.0.2.7", protocol: str = "ESMTPS", ident: str = "t1") -> Message:
    line = received_field(helo=helo, peer_ip=ip, by="mail.test", protocol=protocol, trace_id=ident, at=0.0)
    return Message.parse(line + b"Subject: x\r\n\r\nhello\r\n")


NONE = dict.fromkeys(ALL.split(), "[UNAVAILABLE]")
REMOTE = {"PROTO": "ESMTP", "HELO": "client.test", "IDENT": "t1", "SOURCE": "REMOTE"}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (received(), {**REMOTE, "ADDR": "192.0.2.7"}),
        (received(ip="2001:db8::1"), {**REMOTE, "ADDR": "IPv6:2001:db8::1"}),
        (received(protocol="SMTP"), {**REMOTE, "ADDR": "192.0.2.7", "PROTO": "SMTP"}),
        (received(helo="[192.0.2.1]"), {**REMOTE, "ADDR": "192.0.2.7", "HELO": "[192.0.2.1]"}),
        (received(ip="", protocol="LMTP"), {"IDENT": "t1", "SOURCE": "LOCAL"}),
        (Message.parse(b"Received: from x ([192.0.2.7])\r\n\tby x with ESMTP id 5; now\r\n\r\n"), {"SOURCE": "LOCAL"}),
        (Message.parse(b"Subject: x\r\n\r\n"), {"SOURCE": "LOCAL"}),
    ],
    ids=["esmtp", "six", "smtp", "literal", "unix", "not ours", "none"],
)
def test_what_is_told(message: Message, told: dict[str, str]) -> None:
    (line,) = forwarding(ALL, message)
    assert dict(word.split("=") for word in line.split()) == {**NONE, **told}


def test_only_what_was_asked_for_is_told() -> None:
    assert forwarding("addr helo WHO", received()) == ["ADDR=192.0.2.7 HELO=client.test"]
    assert forwarding("", received()) == []
    assert forwarding("WHO", received()) == []


@given(st.text(max_size=300), st.text(max_size=300))
@settings(max_examples=200)
def test_our_own_server_understands_every_line(helo: str, ident: str) -> None:
    for line in forwarding(ALL, received(helo=helo, ident=ident)):
        assert len(line) < MAX_LINE
        told = attributes(line, XFORWARD)
        assert told.get("ADDR", "192.0.2.7") in ("192.0.2.7", "")


@pytest.mark.parametrize("extensions", [WITH, SLOW])
async def test_a_server_that_asks_is_told_before_each_message(extensions: tuple[str, ...]) -> None:
    server = FakeServer(extensions, always(XFORWARD="250 ok"))
    async with connected(server, xforward=True) as client:
        for _ in range(2):
            outcomes = await client.send(envelope(), to("luis@example.org"), received())
            assert short(outcomes) == ["luis delivered 250 2.0.0"]
    told = [line for line in server.commands if line.startswith("XFORWARD ")]
    assert len(told) == 2
    assert "ADDR=192.0.2.7" in told[0]
    assert server.verbs[0][1:3] == ["XFORWARD", "MAIL"]
    assert len(server.messages) == 2


@pytest.mark.parametrize("extensions", [WITH, SLOW])
async def test_its_refusal_is_no_verdict(extensions: tuple[str, ...]) -> None:
    server = FakeServer(extensions, always(XFORWARD="550 5.7.0 insufficient authorization"))
    async with connected(server, xforward=True) as client:
        assert short(await client.send(envelope(), to("luis@example.org"), received())) == ["luis delivered 250 2.0.0"]


@pytest.mark.parametrize(("extensions", "wish"), [(FULL, True), (WITH, False)])
async def test_nobody_else_is_told(extensions: tuple[str, ...], wish: bool) -> None:
    server = FakeServer(extensions)
    async with connected(server, xforward=wish) as client:
        await client.send(envelope(), to("luis@example.org"), received())
    assert not any(line.startswith("XFORWARD") for line in server.commands)
