"""index.db: the searchable texts of all bodies, folded and compressed, in blocks that tell what cannot be in them.

A block holds the texts of a few bodies that follow one another, and a filter of the trigrams that stand in
them. A search reads the filters, unpacks the few blocks that may hold the needle, and looks for it there: what it finds
is exact, for the texts are those that a search without an index would have made. Bodies whose block is not full yet
are not in the index; they are few, and looked at one by one.

Texts that took long to extract (of PDF files) are part of the block as well. For bodies whose block is not full yet
they are kept one by one: `extracted` has them.

All of it can be made anew from the bodies at any time. A body's id never means another body while the process runs;
what was given after the last start of this process's store is forgotten at the next (`SearchIndex.begin`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from appliance.errors import StoreError
from appliance.store.packing import packed, unpacked
from appliance.store.schema import Migration
from appliance.store.soft import SoftStore

BODIES = 8  # of one block at least: a word that one message of fifty holds leaves most blocks alone
MOST_BODIES = 32  # of one block, while they are short:
LEAST_OCTETS = 16 << 10  # of text in one block; with less, all that goes with it would take too much room
BLOCK_OCTETS = 1 << 20  # of text in one block; a single body may have more
GRAM = 3  # octets
FILTER_SHARE = 4  # a filter takes at most this part of a text: of a short one more is unpacked in vain, which is quick
BITS_EACH = 4  # of a filter for each trigram in it: at most a fifth of those that are not there seem to be
CACHE_OCTETS = 16 << 20  # of unpacked texts that are kept
KEEP_S = 30.0  # without a search

log = logging.getLogger(__name__)


class BodyText(msgspec.Struct, frozen=True):
    """What of one body can be searched, see `appliance.mail.search_text`."""

    body_id: int
    header: bytes
    text: bytes


class Block(msgspec.Struct):
    """The texts of some bodies behind one another. `starts` are those of each header, each text, and the end."""

    bodies: array[int] = msgspec.field(default_factory=lambda: array("q"))
    starts: array[int] = msgspec.field(default_factory=lambda: array("I", [0]))
    data: bytes = b""

    @classmethod
    def of(cls, texts: Sequence[BodyText]) -> Block:
        """Put texts together; the bodies ascend."""
        block = cls()
        pieces: list[bytes] = []
        at = 0
        for one in texts:
            block.bodies.append(one.body_id)
            for piece in (one.header, one.text):
                pieces.append(piece + b"\xff")
                at += len(piece) + 1
                block.starts.append(at)
        block.data = b"".join(pieces)
        return block

    def holding(self, needle: bytes, *, header: bool) -> Iterator[int]:
        """The bodies that hold a needle in their text, or (`header`) in header or text; ascending."""
        at = self.data.find(needle)
        while at >= 0:
            place = bisect_right(self.starts, at) - 1
            body, in_text = divmod(place, 2)
            if in_text or header:
                yield self.bodies[body]
                at = self.data.find(needle, self.starts[2 * body + 2])
            else:
                at = self.data.find(needle, self.starts[place + 1])


def make_filter(data: bytes) -> bytes:
    """The trigrams of a text as bits; its length is a power of two."""
    grams = {data[at : at + GRAM] for at in range(len(data) - GRAM + 1)}
    size = 64
    while size * 8 < len(grams) * BITS_EACH and size * 2 * FILTER_SHARE <= len(data):
        size *= 2
    bits = bytearray(size)
    mask = size * 8 - 1
    for gram in grams:
        bit = _hash(gram) & mask
        bits[bit >> 3] |= 1 << (bit & 7)
    return bytes(bits)


def may_hold(filter_: bytes, hashes: Iterable[int]) -> bool:
    """Whether a text with this filter can hold a needle, given as `hashes_of` it."""
    mask = len(filter_) * 8 - 1
    return all(filter_[(value & mask) >> 3] >> (value & 7) & 1 for value in hashes)


def hashes_of(needle: bytes) -> frozenset[int]:
    """What `may_hold` asks for; nothing for a needle shorter than a trigram."""
    return frozenset(_hash(needle[at : at + GRAM]) for at in range(len(needle) - GRAM + 1))


def _hash(gram: bytes) -> int:
    return (int.from_bytes(gram, "little") * 0x9E3779B1 & 0xFFFFFFFF) >> 5


def _m001_blocks(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE block (last_body INTEGER PRIMARY KEY, first_body INTEGER NOT NULL, size INTEGER NOT NULL,"
        " bodies BLOB NOT NULL, starts BLOB NOT NULL, filter BLOB NOT NULL, data BLOB NOT NULL) STRICT"
    )


def _m002_attached_texts(db: sqlite3.Connection) -> None:
    """Texts that are attached are searched too: what was folded without them is made anew."""
    db.execute("DELETE FROM block")


def _m003_extracted(db: sqlite3.Connection) -> None:
    """Extracted texts of bodies that are in no block yet; and what the blocks were made with."""
    db.execute("CREATE TABLE extracted (body_id INTEGER PRIMARY KEY, size INTEGER NOT NULL, text BLOB NOT NULL) STRICT")
    db.execute("CREATE TABLE made_with (extractor TEXT NOT NULL) STRICT")
    db.execute("INSERT INTO made_with VALUES ('')")


MIGRATIONS = (
    Migration("index.m001_blocks", _m001_blocks),
    Migration("index.m002_attached_texts", _m002_attached_texts),
    Migration("index.m003_extracted", _m003_extracted),
)


class SearchIndex:
    """The blocks. Methods are called on the event loop; what they return is None where the file cannot be used now."""

    def __init__(self, soft: SoftStore, *, extractor: str = "") -> None:
        """`extractor` names what extracts texts, with its version; what others have made is made anew."""
        self._soft = soft
        self._extractor = extractor
        self._soft.add(MIGRATIONS)
        self._kept: OrderedDict[int, Block] = OrderedDict()  # used by the file's thread alone
        self._kept_octets = 0
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self.covered = 0  # the last body that is in a block; all before it are in one, or gone

    async def begin(self, first_new_body: int) -> None:
        """Forget bodies from this id on: the ids may have been given to others since. Call it before any other."""
        extractor = self._extractor

        def run(db: sqlite3.Connection) -> bool:
            if db.execute("UPDATE made_with SET extractor = ?1 WHERE extractor <> ?1", (extractor,)).rowcount:
                db.execute("DELETE FROM block")
                db.execute("DELETE FROM extracted")
            db.execute("DELETE FROM extracted WHERE body_id >= ?", (first_new_body,))
            return True

        self._begun = bool(await self._soft.write(run)) and await self._drop_from(first_new_body)

    @property
    def extracts(self) -> bool:
        """Whether there are texts that only the index has."""
        return bool(self._extractor)

    @property
    def begun(self) -> bool:
        """Whether `begin` has succeeded; before, nothing is covered and nothing can be added."""
        return self._begun

    async def add(self, texts: Sequence[BodyText]) -> bool:
        """Add one block of bodies that follow all others, whatever of them is left. False if that failed."""
        block = Block.of(texts)
        row = (
            texts[-1].body_id, texts[0].body_id, len(block.data), block.bodies.tobytes(), block.starts.tobytes(),
            make_filter(block.data), packed(block.data),
        )  # fmt: skip

        def run(db: sqlite3.Connection) -> bool:
            db.execute("INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("DELETE FROM extracted WHERE body_id <= ?", (texts[-1].body_id,))
            return True

        done = await self._soft.write(run) or False
        if done:
            self.covered = texts[-1].body_id
        return done

    async def keep_extracted(self, body_id: int, form: bytes) -> bool:
        """Keep the extracted text of a body until its block is added; nothing to extract is kept too."""
        row = (body_id, len(form), packed(form))

        def run(db: sqlite3.Connection) -> bool:
            db.execute("INSERT OR REPLACE INTO extracted VALUES (?, ?, ?)", row)
            return True

        return await self._soft.write(run) or False

    async def extracted(self) -> dict[int, bytes]:
        """The extracted texts of bodies that are in no block, in their search form. Few: fewer than a block has."""
        if not self._extractor:
            return {}

        def run(db: sqlite3.Connection) -> dict[int, bytes]:
            rows = db.execute("SELECT body_id, size, text FROM extracted")
            return {body_id: unpacked(text, size) for body_id, size, text in rows}

        return await self._soft.read(run) or {}

    async def holding(self, needle: bytes, *, header: bool) -> set[int] | None:
        """The bodies up to `covered` that hold a needle in their text, or (`header`) in header or text."""
        hashes = hashes_of(needle)

        def run(db: sqlite3.Connection) -> set[int] | int:
            found: set[int] = set()
            filters = db.execute("SELECT last_body, filter FROM block").fetchall()
            for last in [last for last, filter_ in filters if may_hold(filter_, hashes)]:
                try:
                    found.update(self._block(db, last).holding(needle, header=header))
                except StoreError as error:
                    log.warning("index.db: block %d is damaged and is made anew: %s", last, error)
                    return int(last)
            return found

        result: set[int] | int | None = await self._soft.read(run)
        self._forget_later()
        if isinstance(result, int):
            await self._drop_from(result)
            return None
        return result

    async def close(self) -> None:
        """Close the file until the next use."""
        if self._timer is not None:
            self._timer.cancel()
            self._forget()
        await self._soft.let_go()

    async def _drop_from(self, last_body: int) -> bool:
        """Forget blocks that end with this body or behind it: what is covered has no gaps."""

        def run(db: sqlite3.Connection) -> int:
            db.execute("DELETE FROM block WHERE last_body >= ?", (last_body,))
            last: int = db.execute("SELECT ifnull(max(last_body), 0) FROM block").fetchone()[0]
            return last

        last = await self._soft.write(run)
        self.covered = last or 0
        return last is not None

    def _block(self, db: sqlite3.Connection, last: int) -> Block:
        kept = self._kept.get(last)
        if kept is not None:
            self._kept.move_to_end(last)
            return kept
        size, bodies, starts, data = db.execute(
            "SELECT size, bodies, starts, data FROM block WHERE last_body = ?", (last,)
        ).fetchone()
        block = Block(array("q", bodies), array("I", starts), unpacked(data, size))
        self._kept[last] = block
        self._kept_octets += size
        while self._kept_octets > CACHE_OCTETS and len(self._kept) > 1:
            self._kept_octets -= len(self._kept.popitem(last=False)[1].data)
        return block

    def _forget_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(KEEP_S, self._forget)

    def _forget(self) -> None:
        """Give the memory back: who idles costs nothing."""
        self._timer = None
        self._soft.submit(self._clear)

    def _clear(self) -> None:
        self._kept.clear()
        self._kept_octets = 0
