"""What a search is to answer with: `RETURN (…)` (RFC 4731, RFC 5182, RFC 5267, RFC 9394). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from plugins.imap4.protocol_parse import MAX_NUMBER, Cursor, GrammarError


@dataclass(frozen=True, slots=True)
class Partial:
    """A window of the results: places from `first` to `last`, counted from 1, or from the end if `backwards`."""

    first: int
    last: int
    backwards: bool = False

    @property
    def text(self) -> bytes:
        """The window as the client wrote it, in the order of the answer."""
        sign = b"-" if self.backwards else b""
        return b"%b%d:%b%d" % (sign, self.first, sign, self.last)

    def of(self, count: int) -> range:
        """The places of the window among `count` results, counted from 0, in the order of the results."""
        if self.backwards:
            return range(max(count - self.last, 0), max(count - self.first + 1, 0))
        return range(min(self.first - 1, count), min(self.last, count))


@dataclass(frozen=True, slots=True)
class Returns:
    """The result options of one search. `save` keeps the result as `$` (RFC 5182)."""

    minimum: bool = False
    maximum: bool = False
    everything: bool = False
    count: bool = False
    save: bool = False
    partial: Partial | None = None


EVERYTHING = Returns(everything=True)
_FLAGS = {"MIN": "minimum", "MAX": "maximum", "ALL": "everything", "COUNT": "count", "SAVE": "save"}


def parse_return(cursor: Cursor) -> Returns | None:
    """Read `RETURN (MIN COUNT) ` before the keys, if it is there; without any option it means ALL."""
    if cursor.data[cursor.at : cursor.at + 7].upper() != b"RETURN ":
        return None
    cursor.at += 7
    cursor.expect(b"(")
    found: dict[str, bool] = {}
    partial: Partial | None = None
    while not cursor.accept(b")"):
        if found or partial:
            cursor.space()
        word = cursor.word()
        if word in _FLAGS:
            found[_FLAGS[word]] = True
        elif word == "PARTIAL" and partial is None:
            cursor.space()
            partial = parse_partial(cursor)
        else:
            raise GrammarError("unknown or repeated result option")
    if partial and "everything" in found:
        raise GrammarError("PARTIAL and ALL exclude each other")  # RFC 9394 section 3.1
    cursor.space()
    if not found and partial is None:
        return EVERYTHING
    return Returns(partial=partial, **found)


def parse_partial(cursor: Cursor) -> Partial:
    """Read `1:500` or `-1:-100`: both ends on the same side (RFC 9394 section 3.1)."""
    first, last = _end(cursor), 0
    cursor.expect(b":")
    last = _end(cursor)
    if (first < 0) is not (last < 0):
        raise GrammarError("both ends of PARTIAL count from the same side")
    low, high = sorted((abs(first), abs(last)))
    return Partial(low, high, backwards=first < 0)


def _end(cursor: Cursor) -> int:
    backwards = cursor.accept(b"-")
    number = cursor.number()
    if not 0 < number <= MAX_NUMBER:
        raise GrammarError("PARTIAL counts from 1")
    return -number if backwards else number
