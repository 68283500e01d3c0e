"""BINARY in FETCH (RFC 3516): parts without their transfer encoding, exact to the octet, in bounded memory."""

from __future__ import annotations

import base64
import quopri
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.transfer import decoder
from plugins.imap4 import fetch_binary
from tests.plugins.imap4.office import Office

PICTURE = bytes(range(256)) * 3
TEXT = "Grüße aus Köln =\r\n".encode() * 3
MESSAGE = b"".join(
    (
        b'Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n',
        b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n",
        quopri.encodestring(TEXT.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n"),
        b"\r\n--b\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        base64.encodebytes(PICTURE).replace(b"\n", b"\r\n"),
        b"\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: x-uue\r\n\r\nbegin",
        b"\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain",
        b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nText",
        b"\r\n--b--\r\n",
    )
)


async def test_parts_come_decoded(here: Office) -> None:
    await here.put(MESSAGE)
    client = await here.login("INBOX")
    assert await client.ok("FETCH 1 (BINARY.PEEK[1])") == [b"* 1 FETCH (BINARY[1] {%d}\r\n%b)" % (len(TEXT), TEXT)]
    (line,) = await client.ok("FETCH 1 (BINARY.SIZE[1] BINARY.SIZE[2] BINARY.SIZE[4] BINARY.SIZE[9])")
    assert line == b"* 1 FETCH (BINARY.SIZE[1] %d BINARY.SIZE[2] %d BINARY.SIZE[4] 5 BINARY.SIZE[9] 0)" % (
        len(TEXT),
        len(PICTURE),
    )
    assert await client.ok("FETCH 1 (BINARY.PEEK[4] BINARY.PEEK[4]<1.2> BINARY.PEEK[9])") == [
        b"* 1 FETCH (BINARY[4] {5}\r\nplain BINARY[4]<1> {2}\r\nla BINARY[9] NIL)"
    ]
    assert await client.ok("FETCH 1 BINARY.PEEK[5]") == [
        b"* 1 FETCH (BINARY[5] {%d}\r\nSubject: inner\r\n\r\nText)" % len(b"Subject: inner\r\n\r\nText")
    ]
    assert await client.ok("FETCH 1 (BINARY.SIZE[] BINARY.PEEK[]<0.7>)") == [
        b"* 1 FETCH (BINARY.SIZE[] %d BINARY[]<0> {7}\r\nSubject)" % len(MESSAGE)
    ]


async def test_octets_with_nul_come_as_literal8_and_set_seen(here: Office) -> None:
    await here.put(MESSAGE)
    client = await here.login("INBOX")
    client.send(b"x FETCH 1 BINARY[2]\r\n")
    head = await client.reader.readline()
    assert head == b"* 1 FETCH (BINARY[2] ~{%d}\r\n" % len(PICTURE)
    assert await client.reader.readexactly(len(PICTURE)) == PICTURE
    assert await client.reader.readline() == b" FLAGS (\\Recent \\Seen))\r\n"
    assert (await client.line()).startswith(b"x OK")
    assert await client.ok("FETCH 1 BINARY.PEEK[2]<65.3>") == [b"* 1 FETCH (BINARY[2]<65> {3}\r\nABC)"]


async def test_a_message_of_any_octets_but_nul_is_taken_as_literal8(here: Office) -> None:
    client = await here.login("INBOX")
    assert b" BINARY " in (await client.ok("CAPABILITY"))[0]
    head = b"Content-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    octets = bytes(range(1, 256)).replace(b"\n", b"").replace(b"\r", b"")
    await client.ok(b"APPEND INBOX ~{%d+}\r\n%b" % (len(head + octets), head + octets))
    assert await client.ok("FETCH 1 BINARY.PEEK[1]") == [b"* 1 FETCH (BINARY[1] {%d}\r\n%b)" % (len(octets), octets)]
    refused = await client.completion(b"APPEND INBOX ~{%d+}\r\n%b" % (len(head) + 1, head + b"\0"))
    assert refused.startswith("NO [UNKNOWN-CTE] ")


async def test_an_encoding_that_nobody_knows_is_refused(here: Office) -> None:
    await here.put(MESSAGE)
    client = await here.login("INBOX")
    for item in ("BINARY.PEEK[3]", "BINARY.SIZE[3]"):
        assert (await client.completion(f"FETCH 1 {item}")).startswith("NO [UNKNOWN-CTE] ")
    assert (await client.completion("FETCH 1 BINARY[TEXT]")).startswith("BAD")
    assert (await client.completion("FETCH 1 BINARY.SIZE[1]<0.5>")).startswith("BAD")
    await client.ok("NOOP")


async def test_a_large_part_is_decoded_as_it_goes_out(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_binary, "AT_ONCE", 1000)
    monkeypatch.setattr(fetch_binary, "PIECE", 777)
    data = random.Random(1).randbytes(20_000).replace(b"\0", b"\1")
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    await here.put(b"Content-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded, MESSAGE)
    client = await here.login("INBOX")
    assert await client.ok("FETCH 1 (UID BINARY.PEEK[1] BINARY.SIZE[1])") == [
        b"* 1 FETCH (UID 1 BINARY[1] {20000}\r\n%b BINARY.SIZE[1] 20000)" % data
    ]
    for first, count in ((0, 5), (19_990, 100), (12_345, 6_000), (30_000, 5)):
        part = data[first : first + count]
        assert await client.ok(f"FETCH 1 BINARY.PEEK[1]<{first}.{count}>") == [
            b"* 1 FETCH (BINARY[1]<%d> {%d}\r\n%b)" % (first, len(part), part)
        ]
    lines = await client.ok("FETCH 1:2 (BINARY.SIZE[1])")
    assert [line.split()[1] for line in lines] == [b"1", b"2"]


@given(
    st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1), st.sampled_from(["base64", "quoted-printable"])
)
def test_pieces_decode_like_the_whole(data: bytes, sizes: list[int], encoding: str) -> None:
    whole, cut = decoder(encoding), decoder(encoding)
    assert whole is not None
    assert cut is not None
    found = b""
    at = place = 0
    while at < len(data):
        found += cut.feed(data[at : at + sizes[place % len(sizes)]])
        at += sizes[place % len(sizes)]
        place += 1
    assert found + cut.finish() == whole.feed(data) + whole.finish()


@given(st.binary(max_size=300))
def test_what_was_encoded_comes_back(data: bytes) -> None:
    made = decoder("base64")
    assert made is not None
    assert made.feed(base64.encodebytes(data)) + made.finish() == data
    made = decoder("quoted-printable")
    assert made is not None
    assert made.feed(quopri.encodestring(data, quotetabs=True)) + made.finish() == data
