"""FETCH of items that need texts: the responses of some messages, made on a reader thread (RFC 3501 section 7.4.2).

A response is first put together with stretches of texts that are only named. So it is known how long it will be before
anything is read, and of the text nothing is read but what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from appliance.errors import NotFoundError
from appliance.mail.preview import LOOKED_AT, preview, preview_part
from appliance.store.bodies import Found
from appliance.store.messages import structures
from appliance.store.model import MessageRow
from appliance.wire.imap import string
from plugins.imap4.batches import spans
from plugins.imap4.fetch_batch import Batch
from plugins.imap4.fetch_binary import Decoded, LargePartError, binary_pieces, binary_size
from plugins.imap4.fetch_plan import Plan, plain_structure, save_dates
from plugins.imap4.fetch_section import Piece, S, Stretch, cut, section_octets
from plugins.imap4.object_id import email_id, thread_id
from plugins.imap4.protocol_respond import internal_date

if TYPE_CHECKING:
    from appliance.store import Database, Store

TEXT_BATCH = 512 * 1024  # octets of responses after which they go out
LARGE = 1 << 20  # octets of a response; what has as many is not held in memory
APART = 128 * 1024  # octets between stretches of one text above which they are not read together

Read = Callable[[Found, int, int], list[bytes | memoryview]]


class Portion(NamedTuple):
    """The responses that one read has made of a batch."""

    pieces: list[bytes | memoryview]
    done: int  # messages answered, and those found gone
    gone: int
    large: MessageRow | None = None  # the next one, if it is not to be held in memory whole
    moved: bool = False  # the next one's text was not where it stood: it is gone if that happens again


def make_portion(
    store: Store, plan: Plan, mailbox_id: int, batch: Batch, moved: bool, db: Database, *, at_once: bool = False
) -> Portion:
    """Answer for messages until it is enough. For a reader thread.

    `at_once` is for the event loop, see `Store.at_once`.
    """
    read: Read = partial(store.stretch_in, at_once=at_once)
    responses: Responses[Found] = Responses(plan, mailbox_id, batch, lambda *stretch: b"".join(read(*stretch)))
    found = _found(db, store, mailbox_id, batch.uids)
    following = next(found, None)
    made: list[bytes | memoryview] = []
    octets = gone = done = 0
    for place, uid in enumerate(batch.uids):
        if following is None or following.uid != uid:
            gone += 1
            done += 1
            continue
        row = following.row
        try:
            pieces, length = responses.pieces(db, place, row, following)
            if length >= LARGE:
                return Portion(made, done, gone, large=row)
            if octets + length > LARGE:
                break
            made += _filled(read, following, pieces)
            octets += length
        except LargePartError:
            return Portion(made, done, gone, large=row)
        except NotFoundError:
            if done or not moved:
                return Portion(made, done, gone, moved=True)
            gone += 1
        done += 1
        if octets >= TEXT_BATCH:
            break
        following = next(found, None)
    return Portion(made, done, gone)


def _found(db: Database, store: Store, mailbox_id: int, uids: Sequence[int]) -> Iterator[Found]:
    """These messages, as far as they are there. Ranges without gaps: each of them is looked up."""
    return chain.from_iterable(store.found_in(db, mailbox_id, *span) for span in spans(uids, gap=1))


def _filled(read: Read, found: Found, pieces: list[Piece | Decoded]) -> list[bytes | memoryview]:
    """A response with the octets in place of the stretches that were named. Those that lie together are read once."""
    places = [place for place, piece in enumerate(pieces) if type(piece) is Stretch]
    filled: list[Any] = pieces
    if len(places) == 1:
        stretch = filled[places[0]]
        filled[places[0] : places[0] + 1] = read(found, stretch.start, stretch.stop)
        return filled
    if not places:
        return filled
    stretches: list[Stretch] = [filled[place] for place in places]
    start, end = min(stretch.start for stretch in stretches), max(stretch.stop for stretch in stretches)
    together = read(found, start, end) if end - start - sum(map(len, stretches)) <= APART else None
    for place, stretch in zip(reversed(places), reversed(stretches), strict=True):
        if together is None:
            filled[place : place + 1] = read(found, stretch.start, stretch.stop)
        else:
            filled[place : place + 1] = cut([*together], stretch.start - start, len(stretch))
    return filled


class Responses(Generic[S]):
    """How the messages of a batch are answered. `read(source, start, end)` gives octets of a text.

    `large`: encoded parts of any size may be named in responses, see `fetch_binary`.
    """

    __slots__ = ("_batch", "_items", "_large", "_mailbox_id", "_read", "_verb")

    def __init__(
        self, plan: Plan, mailbox_id: int, batch: Batch, read: Callable[[S, int, int], bytes], *, large: bool = False
    ) -> None:
        self._batch = batch
        self._large = large
        self._items = [(b" " + item.label if place else item.label, item) for place, item in enumerate(plan.items)]
        self._mailbox_id = mailbox_id
        self._read = read
        self._verb = plan.verb

    def pieces(self, db: Database, place: int, row: MessageRow, source: S) -> tuple[list[Piece | Decoded], int]:
        """The response of one message, `place` being its place in the batch, and how many octets it has."""
        pieces: list[Piece | Decoded] = [b"* %d %b (" % (self._batch.numbers[place], self._verb)]
        for label, item in self._items:
            section = item.section
            if section is None:
                pieces.append(b"%b %b" % (label, self._value(item.name, db, place, row, source)))
            elif item.name == "BINARY.SIZE":
                pieces.append(b"%b %d" % (label, binary_size(item, source, self._read, large=self._large)))
            elif item.name == "BINARY":
                binary = binary_pieces(item, source, self._read, large=self._large)
                pieces.append(label + (b" NIL" if binary is None else b" "))
                pieces += binary or ()
            elif (octets := section_octets(section, item.partial, source, self._read)) is None:
                pieces.append(label + b" NIL")
            else:
                pieces.append(b"%b {%d}\r\n" % (label, sum(map(len, octets))))
                pieces += octets
        pieces.append(b")\r\n")
        return pieces, sum(map(len, pieces))

    def _preview(self, source: S) -> bytes:
        """The first words of a message (RFC 8970 section 3.1)."""
        part = preview_part(source.structure)
        if part is None:
            return string("")
        end = min(part.end, part.body_start + LOOKED_AT)
        return string(preview(part, bytes(self._read(source, part.body_start, end))))

    def _value(self, name: str, db: Database, place: int, row: MessageRow, source: S) -> bytes:
        match name:
            case "UID":
                return b"%d" % row.uid
            case "FLAGS":
                return b"(%b)" % self._batch.flags[place]
            case "RFC822.SIZE":
                return b"%d" % row.size
            case "INTERNALDATE":
                return internal_date(row.internal_at)
            case "BODY":
                return plain_structure(db, row.body_id)
            case "MODSEQ":
                return b"(%d)" % min(row.modseq, self._batch.modseq)
            case "SAVEDATE":
                return save_dates(db, self._mailbox_id, [row])[0]
            case "EMAILID":
                return b"(%b)" % email_id(row.filing_id)
            case "THREADID":
                return b"(%b)" % thread_id(source.header, row.filing_id)
            case "PREVIEW":
                return self._preview(source)
        _, envelope, bodystructure = next(iter(structures(db, self._mailbox_id, row.uid, row.uid)), (0, b"NIL", b"NIL"))
        return envelope if name == "ENVELOPE" else bodystructure
