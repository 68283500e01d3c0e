"""COMPRESS=DEFLATE: all goes through it both ways, nothing comes late, and no bomb is unpacked."""

from __future__ import annotations

import asyncio
import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from plugins.imap4.protocol import AppendMessage, BadCommand, Continue, ImapServer
from plugins.imap4.protocol_command import Command, State
from plugins.imap4.protocol_deflate import INFLATE_AT_ONCE, Deflater, Inflater
from tests.plugins.imap4.office import Client, Office

LETTER = b"Subject: large\r\n\r\n" + b"the same line again and again\r\n" * 20_000


class Compressed:
    """The client's side of a compressed connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.inflate = zlib.decompressobj(-15)
        self.wire = 0  # octets received

    def send(self, data: bytes) -> None:
        self.client.send(self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH))

    async def until(self, end: bytes) -> bytes:
        """All that comes up to a line that begins with `end`."""
        found = b""
        async with asyncio.timeout(60):
            while not any(line.startswith(end) for line in found.split(b"\r\n")[:-1]):
                data = await self.client.reader.read(65536)
                assert data, found[-200:]
                self.wire += len(data)
                found += self.inflate.decompress(data)
        return found


@pytest.fixture
async def packed(here: Office) -> Compressed:
    await here.put(LETTER)
    client = await here.login("INBOX")
    assert b"COMPRESS=DEFLATE" in (await client.ok("CAPABILITY"))[0]
    await client.ok("COMPRESS DEFLATE")
    return Compressed(client)


async def test_all_goes_through_it_both_ways(packed: Compressed) -> None:
    packed.send(b"a NOOP\r\nb FETCH 1 BODY[]\r\n")
    found = await packed.until(b"b OK")
    assert b"a OK" in found
    assert LETTER in found
    assert packed.wire < len(LETTER) / 20
    packed.send(b"c APPEND INBOX {%d+}\r\n%b\r\n" % (len(LETTER), LETTER))
    assert b"* 2 EXISTS" in await packed.until(b"c OK")


async def test_it_begins_once(packed: Compressed) -> None:
    packed.send(b"a COMPRESS DEFLATE\r\n")
    assert b"a NO [COMPRESSIONACTIVE]" in await packed.until(b"a ")
    packed.send(b"b CAPABILITY\r\n")
    assert b"COMPRESS=" not in await packed.until(b"b OK")


async def test_news_come_at_once_in_idle(packed: Compressed, here: Office) -> None:
    packed.send(b"a IDLE\r\n")
    await packed.until(b"+ ")
    await here.put(LETTER)
    assert b"* 2 EXISTS" in await packed.until(b"* 2 EXISTS")
    packed.send(b"DONE\r\n")
    await packed.until(b"a OK")


async def test_damaged_data_end_the_connection_in_words(packed: Compressed) -> None:
    packed.client.send(b"\xff" * 100)
    assert b"damaged" in await packed.until(b"* BYE")


async def test_other_mechanisms_and_commands_behind_it_are_refused(here: Office) -> None:
    client = await here.login()
    assert (await client.completion("COMPRESS LZMA")).startswith("NO")
    client.send(b"x COMPRESS DEFLATE\r\ny NOOP\r\n")
    assert (await client.line()).startswith(b"* BYE")


def test_a_bomb_is_unpacked_no_further_than_what_it_says_is_looked_at() -> None:
    machine = ImapServer()
    machine.state = State.AUTHENTICATED
    machine.start_compression()
    machine.receive(zlib.compress(b"a NOOP\r\n" + b"x" * 100_000_000, wbits=-15))
    event = machine.next_event()
    assert isinstance(event, Command)
    assert event.verb == "NOOP"
    assert len(machine._buffer) <= INFLATE_AT_ONCE
    with pytest.raises(ProtocolError, match="line too long"):
        machine.next_event()


@given(st.lists(st.binary(max_size=200), max_size=10), st.integers(1, 50))
def test_what_is_packed_is_unpacked_in_any_pieces(portions: list[bytes], size: int) -> None:
    deflater, inflater = Deflater(), Inflater()
    wire = b"".join(map(deflater.encode, portions))
    found = b""
    for start in range(0, len(wire), size):
        inflater.receive(wire[start : start + size])
        while data := inflater.next():
            found += data
    assert found == b"".join(portions)


@given(st.binary(max_size=300))
def test_no_octets_make_the_machine_fail_otherwise_than_in_words(data: bytes) -> None:
    machine = ImapServer()
    machine.state = State.AUTHENTICATED
    machine.start_compression()
    machine.receive(data)
    with contextlib.suppress(ProtocolError):
        while (event := machine.next_event()) is not None:
            assert isinstance(event, Command | BadCommand | Continue | AppendMessage)
