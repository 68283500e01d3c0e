"""The client machine against the SMTP role's own server machine, wired back to back without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.message import Message
from appliance.smtpclient.prepare import prepare
from appliance.wire.smtp import parse_path
from appliance.wire.smtp_client import GREETING, TEXT, ClientMachine
from plugins.smtp.protocol import BodyChunk, BodyEnd, Chunk, Command, SmtpServer

EXTENSIONS = "PIPELINING\n8BITMIME\nSMTPUTF8\nDSN\nSIZE 100000"


class Wire:
    """Two machines and the bytes between them, cut into pieces of one size."""

    def __init__(self, size: int, *, chunking: bool) -> None:
        self.size = size
        self.client = ClientMachine()
        self.server = SmtpServer(100_000)
        self.offer = EXTENSIONS + ("\nCHUNKING" if chunking else "")
        self.recipients: list[str] = []
        self.text = b""
        self.heard: list[str] = []
        self.say("220 server.test ESMTP")

    def say(self, reply: str) -> None:
        lines = reply.split("\n")
        code = lines[0][:4].strip()
        rows = [lines[0][4:], *lines[1:]]
        data = "".join(f"{code}{'-' if row is not rows[-1] else ' '}{row}\r\n" for row in rows).encode()
        for start in range(0, len(data), self.size):
            self.client.receive(data[start : start + self.size])
            while (answer := self.client.next_event()) is not None:
                self.heard.append(f"{answer.verb} {answer.reply.code}")

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), self.size):
            self.server.receive(data[start : start + self.size])
            while (event := self.server.next_event()) is not None:
                self.answer(event)

    def answer(self, event: object) -> None:
        if isinstance(event, BodyChunk):
            self.text += event.data
        elif isinstance(event, BodyEnd):
            assert event.fault is None
            self.say("250 stored")
        elif isinstance(event, Command):
            if event.verb == "DATA":
                self.server.expect_text()
            if event.verb == "RCPT":
                self.recipients.append(event.argument)
            self.say({"EHLO": f"250 server.test\n{self.offer}", "DATA": "354 go"}.get(event.verb, "250 ok"))
        else:
            assert isinstance(event, Chunk)


lines = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"QUIT", b"x.", "ñ".encode(), b"x" * 90]), max_size=12)
local_parts = st.sampled_from(["a", "ñ", "a b", 'a"b', "a\\b", "a.b", "<a>", "a@b"])


@pytest.mark.parametrize("chunking", [False, True])
@given(lines=lines, local=local_parts, size=st.sampled_from([1, 7, 65536]))
def test_what_one_side_says_the_other_understands(chunking: bool, lines: list[bytes], local: str, size: int) -> None:
    raw = b"Subject: x\r\n\r\n" + b"".join(line + b"\r\n" for line in lines)
    to = Recipient(Address(local, "b.test"))
    wire = Wire(size, chunking=chunking)
    wire.send(wire.client.hello("client.test"))
    prepared = prepare(wire.client.extensions, Envelope(Address(local, "a.test")), [to], Message.parse(raw))
    assert not prepared.refused
    client = wire.client
    group = client.command("MAIL", prepared.mail) + client.command("RCPT", prepared.recipients[0])
    if chunking:
        wire.send(group + client.chunk(len(prepared.whole)) + prepared.whole)
    else:
        wire.send(group + client.command("DATA"))
        client.end_of_text()  # which stands in the text already; the answer is expected from here on
        wire.send(prepared.whole)
    expected = [
        f"{GREETING} 220",
        "EHLO 250",
        "MAIL 250",
        "RCPT 250",
        *([] if chunking else ["DATA 354"]),
        f"{TEXT} 250",
    ]
    assert wire.heard == expected
    assert wire.text == raw
    assert parse_path(wire.recipients[0].removeprefix("TO:"))[0] == to.address
    assert client.unanswered == 0
