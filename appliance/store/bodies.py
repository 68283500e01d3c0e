"""The octets of messages on their way into and out of the store: compression, ready-made structures, large texts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from appliance.errors import NotFoundError, StoreError
from appliance.mail.message import Message, Part
from appliance.store.frames import FRAME, table
from appliance.store.model import MessageRow
from appliance.store.packing import packed, packed_attachment, packed_each
from appliance.store.recent import SHORT, STRETCH, Key, RecentBodies
from appliance.store.segments import Extent, Record, Segments
from appliance.store.texts import FRAMES, RAW, ZSTD, Place, Text
from appliance.wire import imap

MIN_COMPRESS = 512  # octets; below it a frame's own cost eats the gain
MIN_SAVING = 10  # per cent that compression must save
SEGMENT_THRESHOLD = 32 << 10  # stored octets; from here on a text goes to a segment file instead of a row
MIN_ATTACHED = 16 << 10  # octets of attachments that make it worth to begin a frame with them
OFF_LOOP = 32 << 10  # octets of text; from here on a thread compresses, so that the loop does not stall
PROBE = 128 << 10  # octets that decide whether a larger text is worth compressing
ALWAYS_DESCRIBED = 1 << 20  # octets of text; from here on whoever sends it on by pieces does not want to scan it first

Row = tuple[int, int, int, int, int, int, int]  # a MessageRow's values

_READ = frozenset(("text", "multipart"))  # types of parts that are no attachments


class PreparedBody(msgspec.Struct):
    """One message ready to be written: all that takes time is done, but for packing a short text (`pack_short`)."""

    header: bytes
    envelope: bytes
    bodystructure: bytes
    parts: bytes
    codec: int
    text_size: int
    stored: int  # octets that the text takes after compression
    text: bytes | None  # the stored text, if it goes into the row
    extent: Extent | None = None  # else where it lies
    unpacked: bool = False  # the text is short, and may shrink

    @property
    def described(self) -> tuple[bytes, bytes, bytes, bytes]:
        """What is kept ready beside the text: envelope, body structure, packed parts, header."""
        return self.envelope, self.bodystructure, self.parts, self.header

    @property
    def logged(self) -> int:
        """Octets that go through the database's log."""
        return sum(map(len, self.described)) + (len(self.text) if self.text is not None else 0)

    @property
    def size(self) -> int:
        """Octets of header and text, without any filing's prefix."""
        return len(self.header) + self.text_size


def pack_short(bodies: Iterable[PreparedBody]) -> None:
    """Compress the short texts of a group together, off the loop: for each alone the change of threads costs more."""
    waiting = [(body, body.text) for body in bodies if body.unpacked and body.text is not None]
    if not waiting:
        return
    for (body, text), frame in zip(waiting, packed_each([text for _, text in waiting]), strict=True):
        body.unpacked = False
        if _pays(len(frame), len(text)):
            body.codec, body.text, body.stored = ZSTD, frame, len(frame)


def prepare(message: Message, segments: Segments, *, compress: bool = True, described: bool = True) -> PreparedBody:
    """Describe, compress and, if it is large, write out a message. Any thread; large ones belong off the loop.

    A short text is left as it is: whoever writes it calls `pack_short`. Unless it is to be `described`, a message is
    kept as one piece of text: for the queue, where nobody looks at its parts, and which is loaded as a whole.

    Raises MessageError, StoreFullError, StoreError.
    """
    text = message.text
    described = described or len(text) >= ALWAYS_DESCRIBED
    part = message.structure if described else _one_piece(len(text))
    short = compress and MIN_COMPRESS <= len(text) < MIN_ATTACHED
    codec, chunks = _compressed(text, _attached(part, len(text))) if compress and not short else (RAW, [text])
    stored = sum(map(len, chunks))
    extent = segments.append(chunks) if stored >= SEGMENT_THRESHOLD else None
    return PreparedBody(
        header=message.header,
        envelope=imap.envelope(message) if described else b"NIL",
        bodystructure=imap.bodystructure(part, extended=True) if described else b"NIL",
        parts=imap.pack(part),
        codec=codec,
        text_size=len(text),
        stored=stored,
        text=b"".join(chunks) if extent is None else None,
        extent=extent,
        unpacked=short,
    )


def _one_piece(size: int) -> Part:
    return Part("application", "octet-stream", (), 0, 0, size)


def _attached(structure: Part, size: int) -> int:
    """Where the first attachment begins, or the end. What people read stands before it, and is often asked for alone.

    Little that is attached is kept together with the rest.
    """
    start = next((part.header_start for part in structure.walk() if part.type not in _READ), size)
    return start if size - start >= MIN_ATTACHED else size


def _compressed(text: bytes | memoryview, attached: int) -> tuple[int, Sequence[bytes | memoryview]]:
    size = len(text)
    if size < MIN_COMPRESS:
        return RAW, [text]
    if attached == size > PROBE and not _pays(len(packed(text[:PROBE])), PROBE):
        return RAW, [text]
    starts = [*range(0, attached, FRAME), *range(attached, size, FRAME), size]
    frames = [(packed if start < attached else packed_attachment)(text[start:end]) for start, end in pairwise(starts)]
    if attached == size and not _pays(sum(map(len, frames)), size):
        return RAW, [text]
    if len(frames) == 1:
        return ZSTD, frames
    sizes = [(len(frame), end - start) for frame, (start, end) in zip(frames, pairwise(starts), strict=True)]
    return FRAMES, [*frames, table(sizes)]


def _pays(stored: int, size: int) -> bool:
    return stored * 100 <= size * (100 - MIN_SAVING)


_PLACE = "b.codec, b.text_size, b.segment, b.position, b.stored, b.text"
_FROM = "FROM body b LEFT JOIN filing f ON f.id = ? WHERE b.id = ?"
_BODY = f"SELECT b.header, f.prefix, {_PLACE} {_FROM}"
_BODY_AND_PARTS = f"SELECT b.header, f.prefix, {_PLACE}, b.parts {_FROM}"
_ROWS = (
    "SELECT uid, flags, modseq, size, internal_at, body_id, filing_id FROM message"
    " WHERE mailbox_id = ? AND uid BETWEEN ? AND ? ORDER BY uid"
)
_HEADER = f"SELECT b.header, f.prefix {_FROM}"


def load(
    db: sqlite3.Connection, segments: Segments, body_id: int, filing_id: int | None, *, at_once: bool = False
) -> Message:
    """One message with the filing's own lines in front, if a filing is given. Belongs on a reader thread.

    `at_once` is for the event loop: NotCachedError where it would have to wait, see `Place.start`. Raises
    NotFoundError if body or filing are gone, StoreError if they are damaged.
    """
    header, row = _found(db, _BODY, body_id, filing_id)
    place = Place(*row[2:8])
    try:
        return Message(header, place.start(segments, place.size, at_once=at_once))
    except StoreError as error:
        raise _about(body_id, error) from error


def load_start(
    db: sqlite3.Connection,
    segments: Segments,
    body_id: int,
    filing_id: int | None,
    reach: Callable[[Part], int],
    *,
    at_once: bool = False,
) -> Message:
    """One message with its stored structure and only as many octets of its text as `reach` says of that structure.

    The parts that people read stand before the attachments, so what is behind them need not be unpacked. `at_once`
    as in `load`.
    """
    header, row = _found(db, _BODY_AND_PARTS, body_id, filing_id)
    return _start(segments, body_id, header, Place(*row[2:8]), row[8], reach, at_once)


def _start(
    segments: Segments,
    body_id: int,
    header: bytes,
    place: Place,
    parts: bytes,
    reach: Callable[[Part], int],
    at_once: bool,
) -> Message:
    structure = imap.unpack(parts)
    wanted = max(0, min(reach(structure), place.size))
    try:
        text = place.start(segments, wanted, at_once=at_once) if wanted else b""
    except StoreError as error:
        raise _about(body_id, error) from error
    return Message(header, text, structure)


class StoredBody:
    """A body as it was found: its text is unpacked when it is asked for, a short one once for all."""

    __slots__ = ("_kept", "_place", "_structure", "cost", "header", "text_size")

    def __init__(self, header: bytes, place: Place, parts: bytes) -> None:
        """`header` has the filing's own lines in front."""
        self.header = header
        self.text_size = place.size
        self.cost = len(header) + (place.size if place.size <= SHORT else STRETCH + len(place.octets or b""))
        self._place: Place | None = place
        self._kept: tuple[int, int, bytes | memoryview] = (0, -1, b"")  # a stretch of the text, all of a short one
        self._structure: bytes | Part = parts

    @property
    def structure(self) -> Part:
        """The MIME tree, as it was stored."""
        structure = self._structure
        if isinstance(structure, bytes):
            self._structure = structure = imap.unpack(structure)
        return structure

    def stretch(self, segments: Segments, start: int, end: int, *, at_once: bool = False) -> list[bytes | memoryview]:
        """Octets of the text, see `Place.stretch`."""
        if start == end:
            return []
        place = self._place  # before what is kept: another thread keeps all, then clears this
        first, last, octets = self._kept
        if first <= start and end <= last:
            return [octets if (start, end) == (first, last) else memoryview(octets)[start - first : end - first]]
        assert place is not None
        if self.text_size <= SHORT:
            octets = place.start(segments, self.text_size, at_once=at_once)
            self._kept = (0, self.text_size, octets)
            self._place = None
            return [octets if end - start == self.text_size else memoryview(octets)[start:end]]
        pieces = place.stretch(segments, start, end, at_once=at_once)
        if end - start <= STRETCH:
            self._kept = (start, end, b"".join(pieces))
        return pieces


class Found:
    """One message of a mailbox, with all that the database has of it."""

    __slots__ = ("_body", "_renew", "_values", "header", "text_size", "uid")

    def __init__(self, values: Row, body: StoredBody, renew: Callable[[], StoredBody] | None) -> None:
        """`renew` looks the body up, if it was not only now: its text may have been moved since."""
        self.uid = values[0]
        self.header = body.header
        self.text_size = body.text_size
        self._body = body
        self._renew = renew
        self._values = values

    @property
    def row(self) -> MessageRow:
        """Its row in the mailbox."""
        return MessageRow(*self._values)

    @property
    def structure(self) -> Part:
        """The MIME tree, as it was stored."""
        return self._body.structure

    def stretch(self, segments: Segments, start: int, end: int, *, at_once: bool = False) -> list[bytes | memoryview]:
        """Octets of the text, see `Place.stretch`."""
        try:
            return self._body.stretch(segments, start, end, at_once=at_once)
        except StoreError as error:
            if not isinstance(error, NotFoundError) or self._renew is None:
                raise _about(self._values[5], error) from error
        self._body, self._renew = self._renew(), None
        return self.stretch(segments, start, end, at_once=at_once)


def found_in(
    db: sqlite3.Connection, recent: RecentBodies, mailbox_id: int, first_uid: int, last_uid: int
) -> Iterator[Found]:
    """The messages of a range of uids, ascending, each looked up when it is asked for."""
    for values in db.execute(_ROWS, (mailbox_id, first_uid, last_uid)):
        key = values[5:]
        if (body := recent.get(key)) is not None:
            yield Found(values, body, partial(_looked_up, db, recent, key))
        else:
            yield Found(values, _looked_up(db, recent, key), None)


def _looked_up(db: sqlite3.Connection, recent: RecentBodies, key: Key) -> StoredBody:
    header, row = _found(db, _BODY_AND_PARTS, *key)
    body = StoredBody(header, Place(*row[2:8]), row[8])
    recent.renew(key, body)
    return body


class Opened(msgspec.Struct, frozen=True):
    """A body whose text is read piece by piece; to be closed after the last one."""

    body_id: int
    header: bytes  # with the filing's own lines in front
    parts: bytes
    text: Text
    record: Record | None

    def piece(self, start: int, end: int) -> bytes:
        """See `Text.piece`."""
        try:
            return self.text.piece(start, end)
        except StoreError as error:
            raise _about(self.body_id, error) from error

    def close(self) -> None:
        """Let its file go. Safe to call twice."""
        if self.record is not None:
            self.record.close()


def open_body(db: sqlite3.Connection, segments: Segments, body_id: int, filing_id: int | None) -> Opened:
    """Look up a body and open its text. Belongs on a reader thread. Raises as `load` does."""
    header, row = _found(db, _BODY_AND_PARTS, body_id, filing_id)
    try:
        return Opened(body_id, header, row[8], *Place(*row[2:8]).open(segments))
    except StoreError as error:
        raise _about(body_id, error) from error


def load_header(db: sqlite3.Connection, body_id: int, filing_id: int | None) -> Message:
    """The header of one message, with an empty text."""
    return Message(_found(db, _HEADER, body_id, filing_id)[0], b"")


def _found(db: sqlite3.Connection, query: str, body_id: int, filing_id: int | None) -> tuple[bytes, tuple[Any, ...]]:
    """The whole header of a message, and the row of a query that begins with header and prefix."""
    row: tuple[Any, ...] | None = db.execute(query, (filing_id, body_id)).fetchone()
    if row is None:
        raise NotFoundError(f"no body {body_id}")
    header, prefix = row[:2]
    if filing_id is None:
        return header, row
    if prefix is None:
        raise NotFoundError(f"no filing {filing_id}")
    return prefix + header, row


def _about(body_id: int, error: StoreError) -> StoreError:
    """The same error, in words that say which body it is about."""
    return type(error)(f"body {body_id}: {error}")
