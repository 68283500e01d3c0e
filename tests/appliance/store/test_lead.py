"""What people read first of a message can be unpacked without what is attached to it."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from appliance.mail.message import Message
from appliance.store import Account, Store, bodies
from appliance.store.frames import FRAME
from appliance.store.packing import packed
from appliance.store.segments import Segments
from appliance.store.texts import FRAMES, Place
from tests.appliance.store.samples import accept, box, rows

HEADER = b"Subject: two parts\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"


def mixed(text: int, attached: int) -> Message:
    """A text and an attachment of so many octets; both shrink by about a half."""
    source = random.Random(text)
    octets = bytes(source.choices(b"0123456789abcdef", k=text + attached))
    return Message.parse(
        HEADER + b"--x\r\n\r\n" + octets[:text] + b"\r\n--x\r\nContent-Type: image/png\r\n\r\n" + octets[text:]
    )


@pytest.mark.parametrize("attached", [20_000, 100_000, 400_000])
def test_attachments_begin_a_frame(tmp_path: Path, attached: int) -> None:
    message = mixed(3000, attached)
    segments = Segments(tmp_path / "segments")
    made = bodies.prepare(message, segments)
    assert made.codec == FRAMES
    where = (None, 0) if made.extent is None else (made.extent.segment, made.extent.position)
    place = Place(made.codec, made.text_size, *where, made.stored, made.text)
    text, record = place.open(segments)
    start = message.structure.parts[1].header_start
    assert text.piece(0, text.size) == message.text[:start]
    assert text.piece(start, text.size) == message.text[start : start + FRAME]
    if record is not None:
        record.close()
    segments.close()


def test_what_is_attached_in_base64_lies_as_it_is(tmp_path: Path) -> None:
    """Then it is read several times as fast; the text before it is compressed all the same."""
    photo = base64.encodebytes(random.Random(3).randbytes(300_000)).replace(b"\n", b"\r\n")
    words = b"the same words again and again\r\n" * 500
    message = Message.parse(HEADER + b"--x\r\n\r\n" + words + b"--x\r\nContent-Type: image/png\r\n\r\n" + photo)
    segments = Segments(tmp_path / "segments")
    made = bodies.prepare(message, segments)
    assert made.codec == FRAMES
    assert len(photo) < made.stored < len(photo) + 2000
    segments.close()


@pytest.mark.parametrize("message", [mixed(30_000, bodies.MIN_ATTACHED // 2), Message.parse(HEADER + b"a b" * 20_000)])
def test_little_or_nothing_attached_gets_no_frame_of_its_own(tmp_path: Path, message: Message) -> None:
    made = bodies.prepare(message, Segments(tmp_path / "segments"))
    assert made.text == packed(message.text)


@pytest.mark.parametrize("attached", [0, 1000, 20_000, 100_000, 300_000, 600_000])
async def test_texts_with_attachments_come_back_as_they_were(store: Store, ana: Account, attached: int) -> None:
    messages = [mixed(length, attached) for length in (10, 16_000, 50_000, FRAME - 20, 300_000)]
    for message in messages:
        await accept(store, message, ana)
    found = rows(store, box(store, ana))
    for row, message, loaded in zip(found, messages, await store.load_many(found), strict=True):
        assert bytes(loaded.text) == bytes(message.text)
        ends = [part.end for part in message.structure.walk()]
        for end in ends:
            (start,) = await store.each([row], lambda _, __, loaded: bytes(loaded.text), reach=lambda _, end=end: end)  # type: ignore[misc]
            assert start == bytes(message.text[:end])
