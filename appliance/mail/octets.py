"""Searching in long octet strings that may be mappings: `memoryview` has neither `find` nor `count`."""

from __future__ import annotations

from collections.abc import Iterator

_WINDOW = 4096  # octets copied for the first look
_MAX_WINDOW = 1 << 20  # each further look copies four times as many, up to this
_FEW_MARKS = 64  # looked at one by one


def find(text: bytes | memoryview, needle: bytes, start: int, end: int) -> int:
    """The offset of the first `needle` that lies within `start` and `end`, or -1."""
    if isinstance(text, bytes):
        return text.find(needle, start, end)
    return next(_occurrences(text, needle, start, end), -1)


def occurrences(text: bytes | memoryview, needle: bytes, start: int, end: int, *, mark: int = 0) -> Iterator[int]:
    """The offsets of all `needle` within `start` and `end` that do not overlap, ascending.

    `mark` is the place in `needle` of an octet that is seldom in mail: to look for it alone is ten times as quick as
    to look for the whole.
    """
    if not isinstance(text, bytes):
        yield from _occurrences(text, needle, start, end)
        return
    position = _find_marked(text, needle, start, end, mark)
    while position >= 0:
        yield position
        position = _find_marked(text, needle, position + len(needle), end, mark)


def _find_marked(text: bytes, needle: bytes, start: int, end: int, mark: int) -> int:
    """`find`, by the octet at `mark`; a text that is full of it is left to the other search."""
    octet = needle[mark : mark + 1]
    place = start + mark
    for _ in range(_FEW_MARKS):
        place = text.find(octet, place, end)
        if place < 0:
            return -1
        if text.startswith(needle, place - mark, end):
            return place - mark
        place += 1
    return text.find(needle, place - mark, end)


def count_lines(text: bytes | memoryview, start: int, end: int) -> int:
    """The number of LF within `start` and `end`."""
    if isinstance(text, bytes):
        return text.count(b"\n", start, end)
    return sum(bytes(text[at : min(at + _MAX_WINDOW, end)]).count(b"\n") for at in range(start, end, _MAX_WINDOW))


def _occurrences(text: memoryview, needle: bytes, start: int, end: int) -> Iterator[int]:
    size = _WINDOW
    while start + len(needle) <= end:
        window = bytes(text[start : min(start + size, end)])
        position = window.find(needle)
        while position >= 0:
            yield start + position
            after = position + len(needle)
            position = window.find(needle, after)
            if position < 0:
                window, start = window[after:], start + after
        # The last octets may be the beginning of a needle: the next window starts with them.
        start += max(len(window) - len(needle) + 1, 0)
        size = min(size * 4, _MAX_WINDOW)
