"""Texts that are read piece by piece: every stretch of every kind, damage, compaction under a reader, bounds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import NotFoundError, StoreError
from appliance.mail.message import Message
from appliance.store import Account, Store, frames, messages, texts
from appliance.store.bodies import pack_short, prepare
from appliance.store.frames import FRAME, Frames, table
from appliance.store.packing import packed
from appliance.store.segments import NotCachedError, Segments
from appliance.store.stored import StoredMessage
from appliance.store.texts import FRAMES, PIECE, RAW, ZSTD, HeldText, Place, PlainText
from tests.appliance.store.samples import PREFIX, accept, box, message, rows, swept

HEADER = b"From: bob@example.com\r\nSubject: long\r\n\r\n"
LONG = 3 * FRAME + 1000

TEXTS = {
    "empty": (b"", RAW, False),
    "short": (b"a few words\r\n", RAW, False),
    "compressed in the row": (b"the same words again and again\r\n" * 100, ZSTD, False),
    "compressed in a file": (random.Random(1).randbytes(60_000).hex().encode(), ZSTD, True),
    "as it is in a file": (random.Random(2).randbytes(LONG), RAW, True),
    "frames in the row": (b"the same words again and again\r\n" * 40_000, FRAMES, False),
    "frames in a file": (random.Random(3).randbytes(LONG).hex().encode(), FRAMES, True),
    "frames that end with the text": (random.Random(4).randbytes(FRAME).hex().encode(), FRAMES, True),
}


def stored(folder: Path, text: bytes) -> tuple[Segments, Place]:
    """A text where `prepare` puts it."""
    segments = Segments(folder / "segments")
    body = prepare(Message(HEADER, text), segments)
    pack_short([body])
    where = (None, 0) if body.extent is None else (body.extent.segment, body.extent.position)
    return segments, Place(body.codec, body.text_size, *where, body.stored, body.text)


def reading(octets: bytes) -> Callable[[int, int], bytes]:
    return lambda start, count: octets[start : start + count]


async def whole(message: StoredMessage) -> bytes:
    pieces = [piece async for piece in message.pieces()]
    assert all(0 < len(piece) <= PIECE for piece in pieces[1:])
    return b"".join(pieces)


# ── every stretch ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", TEXTS)
def test_every_kind_is_read_in_pieces_and_as_a_whole(tmp_path: Path, kind: str) -> None:
    text, codec, in_file = TEXTS[kind]
    segments, place = stored(tmp_path, text)
    assert (place.codec, place.segment is not None) == (codec, in_file)
    opened, record = place.open(segments)
    assert (record is not None) == (in_file and codec != ZSTD)
    assert opened.size == len(text)
    made, done = [], 0
    while done < len(text):
        made.append(opened.piece(done, len(text)))
        assert 0 < len(made[-1]) <= PIECE
        done += len(made[-1])
    assert b"".join(made) == text
    assert bytes(place.start(segments, len(text))) == text
    for wanted in {0, min(5, len(text)), len(text) // 2, max(0, len(text) - 1)}:
        assert bytes(place.start(segments, wanted)) == text[:wanted]


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stretch(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text, _, _ = TEXTS[data.draw(st.sampled_from([kind for kind in TEXTS if kind != "empty"]))]
    segments, place = stored(tmp_path_factory.mktemp("any"), text)
    opened, record = place.open(segments)
    borders = st.integers(0, len(text)) | st.sampled_from([*range(0, len(text), FRAME), len(text)])
    for _ in range(5):
        start, end = sorted((data.draw(borders), data.draw(borders)))
        made = b""
        while start + len(made) < end:
            made += opened.piece(start + len(made), end)
        assert made == text[start:end]
        assert b"".join(place.stretch(segments, start, end)) == text[start:end]
        with contextlib.suppress(NotCachedError):
            assert b"".join(place.stretch(segments, start, end, at_once=True)) == text[start:end]
    if record is not None:
        record.close()


def test_frames_are_what_zstd_itself_reads(tmp_path: Path) -> None:
    """The layout is not our own: frames, and a table that everybody else skips (zstd's seekable format)."""
    text, _, _ = TEXTS["frames in a file"]
    segments, place = stored(tmp_path, text)
    assert place.segment is not None
    octets = segments.read(place.segment, place.position, place.stored)
    assert zstandard.ZstdDecompressor().stream_reader(octets, read_across_frames=True).read() == text
    count, descriptor, magic = struct.unpack("<IBI", octets[-9:])
    assert (count, descriptor, magic) == (len(range(0, len(text), FRAME)), 0, 0x8F92EAB1)
    assert octets[-17 - 8 * count :][:8] == struct.pack("<II", 0x184D2A5E, 9 + 8 * count)


# ── damage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_any_flipped_bit_of_frames_is_found_and_no_other_frame_suffers() -> None:
    text = random.Random(5).randbytes(3000).hex().encode()
    parts = [text[start : start + 1000] for start in range(0, len(text), 1000)]
    whole_frames = [packed(part) for part in parts]
    good = b"".join(whole_frames) + table(
        [(len(one), len(part)) for one, part in zip(whole_frames, parts, strict=True)]
    )
    chance = random.Random(6)
    for at in [*chance.sample(range(len(good)), 300), *range(len(good) - 80, len(good))]:
        octets = bytearray(good)
        octets[at] ^= 1 << chance.randrange(8)
        try:
            found = Frames(reading(bytes(octets)), len(good), len(text))
        except StoreError:
            assert at >= sum(map(len, whole_frames))  # only the table is looked at
            continue
        made = []
        for number, part in enumerate(parts):
            with contextlib.suppress(StoreError):
                made.append(found.piece(number * 1000, len(text)))
                assert made[-1] == part
        # The magic of a frame to skip and what is unused in a frame's head change nothing.
        assert len(made) >= len(parts) - 1, at
        if len(made) == len(parts):
            assert at < sum(map(len, whole_frames)), at


@pytest.mark.parametrize(
    ("octets", "size"),
    [
        (b"", 5),
        (b"short", 5),
        (b"x" * 100, 5),
        (table([]), 1),
        (table([(0, 5)]), 5),
        (table([(5, 0), (5, 5)]) + b"0123456789", 5),
        (b"0123456789" + table([(10, frames.MAX_FRAME + 1)]), frames.MAX_FRAME + 1),
        (b"0123456789" + table([(10, 5)]), 6),
        (b"0123456789" + table([(9, 5)]), 5),
        (b"0123456789" + struct.pack("<IBI", 0xFFFFFFFF, 0, 0x8F92EAB1), 5),
        (b"0123456789" + table([(10, 5)])[:-5] + b"\x80" + table([(10, 5)])[-4:], 5),
    ],
)
def test_tables_that_do_not_fit(octets: bytes, size: int) -> None:
    with pytest.raises(StoreError):
        Frames(reading(octets), len(octets), size)


def test_damage_in_a_stretch_is_found(tmp_path: Path) -> None:
    text, _, _ = TEXTS["frames in a file"]
    segments, place = stored(tmp_path, text)
    assert place.segment is not None
    path = segments.path(place.segment)
    octets = bytearray(path.read_bytes())
    octets[place.position + 1000] ^= 1
    path.write_bytes(octets)
    for start, end in ((0, len(text)), (5, 6), (10, FRAME + 10)):
        with pytest.raises(StoreError, match="frame 0"):
            place.stretch(segments, start, end)
    assert b"".join(place.stretch(segments, FRAME, len(text))) == text[FRAME:]
    plain = Place(RAW, place.stored, place.segment, place.position, place.stored, None)
    assert b"".join(plain.stretch(segments, 1000, 1001)) == octets[place.position + 16 + 1000 :][:1]
    with pytest.raises(StoreError, match="damaged"):
        plain.stretch(segments, 0, place.stored)
    with pytest.raises(StoreError, match="missing"):
        plain._replace(position=place.position + 100).stretch(segments, 1, place.stored)
    with pytest.raises(StoreError, match="instead of"):
        plain._replace(size=5).stretch(segments, 1, 4)


def test_a_frame_that_holds_more_than_it_says_is_not_unpacked() -> None:
    """A frame may hold gigabytes; what the table says bounds what is unpacked."""
    bomb = zstandard.compress(b"x" * 50_000_000)
    octets = bomb + table([(len(bomb), 1000)])
    with pytest.raises(StoreError, match="frame 0"):
        Frames(reading(octets), len(octets), 1000).piece(0, 1000)


def test_a_frame_without_its_end_is_damaged() -> None:
    """All of the text is there, but not the checksum behind it."""
    frame = packed(b"words " * 1000)
    octets = frame[:-4] + table([(len(frame) - 4, 6000)])
    with pytest.raises(StoreError, match="frame 0"):
        Frames(reading(octets), len(octets), 6000).piece(0, 6000)


def test_the_last_piece_of_a_damaged_text_is_withheld() -> None:
    text = random.Random(7).randbytes(LONG)
    bad = bytearray(text)
    bad[10] ^= 1
    crc = texts.zlib.crc32(text)
    opened = PlainText(reading(bytes(bad)), LONG, crc)
    assert opened.piece(0, LONG) == bad[:PIECE]
    assert opened.piece(PIECE, LONG) == text[PIECE : 2 * PIECE]
    assert opened.piece(2 * PIECE, LONG) == text[2 * PIECE : 3 * PIECE]
    with pytest.raises(StoreError, match="damaged"):
        opened.piece(3 * PIECE, LONG)
    other = PlainText(reading(bytes(bad)), LONG, crc)
    assert other.piece(PIECE, PIECE + 9) == text[PIECE : PIECE + 9]  # a stretch goes unchecked
    short = PlainText(lambda start, count: bytes(bad[start : start + count])[:100], LONG, crc)
    with pytest.raises(StoreError, match="missing"):
        short.piece(0, LONG)


def test_sizes_that_do_not_agree(tmp_path: Path) -> None:
    segments = Segments(tmp_path / "segments")
    extent = segments.append([b"x" * 1000])
    with pytest.raises(StoreError, match="instead of"):
        Place(RAW, 999, 1, extent.position, 1000, None).open(segments)
    with pytest.raises(StoreError, match="damaged"):
        Place(RAW, 999, 1, extent.position, 999, None).open(segments)
    with pytest.raises(StoreError, match="instead of"):
        Place(RAW, 999, None, 0, 4, b"text").open(segments)
    frame = packed(b"words " * 1000)
    assert Place(ZSTD, 6000, None, 0, len(frame), frame).start(segments, 6000) == b"words " * 1000
    with pytest.raises(StoreError, match="instead of"):
        Place(ZSTD, 5999, None, 0, len(frame), frame).start(segments, 5999)
    with pytest.raises(NotFoundError):
        Place(RAW, 1000, 9, 0, 1000, None).open(segments)
    assert not segments._pins
    assert HeldText(b"x").size == 1


def test_a_record_gives_only_its_own_octets(tmp_path: Path) -> None:
    segments = Segments(tmp_path / "segments")
    one, _ = segments.append([b"first"]), segments.append([b"second"])
    record = segments.record(one.segment, one.position, one.length)
    assert record.take(1, 4) == b"irst"
    for start, count in ((-1, 2), (0, 6), (6, 0), (3, -1)):
        with pytest.raises(StoreError):
            record.take(start, count)
    record.close()
    record.close()
    assert not segments._pins
    with pytest.raises(StoreError):
        record.take(0, 1)


# ── the store ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_message_in_pieces(store: Store, ana: Account) -> None:
    sent = message(1, 2_000_000)
    await accept(store, sent, ana)
    [row] = rows(store, box(store, ana))
    async with store.reading(row.body_id, row.filing_id) as found:
        assert found.header == PREFIX + sent.header
        assert (found.size, found.text_size) == (row.size, len(sent.text))
        assert found.structure == sent.structure
        assert await whole(found) == PREFIX + bytes(sent)
        assert await whole(found) == PREFIX + bytes(sent)  # once more
        assert b"".join([piece async for piece in found.text(300_000, 900_000)]) == sent.text[300_000:900_000]
        assert [piece async for piece in found.text(5, 5)] == []
        assert found.octets(FRAME - 3, FRAME + 3) == sent.text[FRAME - 3 : FRAME + 3]
    async with store.reading(row.body_id) as found:
        assert await whole(found) == bytes(sent)
    assert not store._segments._pins


async def test_many_readers_hold_no_descriptor(store: Store, ana: Account) -> None:
    for number in range(3):
        await accept(store, message(number, 600_000), ana)
    found = rows(store, box(store, ana))
    await store.load(found[0].body_id)
    before = len(os.listdir("/proc/self/fd"))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(30):
            for row in found:
                one = await stack.enter_async_context(store.reading(row.body_id, row.filing_id))
                await anext(one.text())
        assert len(os.listdir("/proc/self/fd")) <= before + 3  # connections of further reader threads
    assert not store._segments._pins


async def test_a_reader_comes_to_the_end_of_what_is_gone(store: Store, ana: Account) -> None:
    sent = message(1, 2_000_000)
    await accept(store, sent, ana)
    inbox = box(store, ana)
    [row] = rows(store, inbox)
    async with store.reading(row.body_id, row.filing_id) as found:
        pieces = found.text()
        made = [await anext(pieces)]
        await store.write(lambda db: messages.expunge(db, inbox.id, None, deleted_only=False))
        await swept(store)
        await store.tidy(everything=True)
        with pytest.raises(NotFoundError):
            await store.load(row.body_id)
        made += [piece async for piece in pieces]
        assert b"".join(made) == sent.text
    await store.tidy(everything=True)
    assert store._segments.numbers() == []


async def test_a_reader_comes_to_the_end_of_what_is_moved(store: Store, ana: Account) -> None:
    sent = message(1, 700_000)
    await accept(store, sent, ana)
    for number in range(2, 5):
        await accept(store, message(number, 900_000), ana)
    inbox = box(store, ana)
    row = rows(store, inbox)[0]
    [number] = store._segments.numbers()
    async with store.reading(row.body_id) as found:
        pieces = found.pieces()
        made = [await anext(pieces), await anext(pieces)]
        await store.write(lambda db: messages.expunge(db, inbox.id, [2, 3, 4], deleted_only=False))
        await swept(store, left=1)
        await store.tidy(everything=True)
        assert store.peek(lambda db: db.execute("SELECT segment FROM body").fetchone())[0] > number
        assert number in store._segments.numbers()
        async with store.reading(row.body_id) as again:
            assert await whole(again) == bytes(sent)
        assert b"".join([*made, *[piece async for piece in pieces]]) == bytes(sent)
    await store.tidy()
    assert number not in store._segments.numbers()


async def test_what_is_not_there_or_damaged(store: Store, ana: Account) -> None:
    done = await accept(store, message(1, 900_000), ana)
    for wanted in ((999, None), (done.body_id, 999)):
        with pytest.raises(NotFoundError):
            async with store.reading(*wanted):
                raise AssertionError("opened")
    path = store._segments.path(store._segments.numbers()[0])
    octets = bytearray(path.read_bytes())
    octets[150_000] ^= 1  # in the second frame or behind it
    path.write_bytes(octets)
    async with store.reading(done.body_id) as found:
        pieces = found.text()
        await anext(pieces)
        with pytest.raises(StoreError, match=f"body {done.body_id}: frame"):
            _ = [piece async for piece in pieces]
    with pytest.raises(StoreError, match=f"body {done.body_id}: .* damaged"):
        await store.load(done.body_id)
    octets[:4] = b"none"
    path.write_bytes(octets)
    with pytest.raises(StoreError, match="damaged"):
        async with store.reading(done.body_id):
            raise AssertionError("opened")
    assert not store._segments._pins


async def test_whoever_is_cancelled_while_it_is_opened_leaves_nothing(store: Store, ana: Account) -> None:
    done = await accept(store, message(1, 900_000), ana)

    async def read() -> None:
        async with store.reading(done.body_id) as found:
            await whole(found)

    for turns in range(12):
        task = asyncio.ensure_future(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for _ in range(3):  # behind whatever the threads still do
        await asyncio.gather(*[store.load(done.body_id) for _ in range(3)])
    assert not store._segments._pins
