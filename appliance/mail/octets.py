"""Searching in long octet strings that may be mappings: `memoryview` has neither `find` nor `count`."""

from __future__ import annotations

from collections.abc import Iterator

_WINDOW = 4096  # octets copied for the first look
_MAX_WINDOW = 1 << 20  # each further look copies four times as many, up to this


def find(text: bytes | memoryview, needle: bytes, start: int, end: int) -> int:
    """The offset of the first `needle` that lies within `start` and `end`, or -1."""
    if isinstance(text, bytes):
        return text.find(needle, start, end)
    return next(_occurrences(text, needle, start, end), -1)


def occurrences(text: bytes | memoryview, needle: bytes, start: int, end: int) -> Iterator[int]:
    """The offsets of all `needle` within `start` and `end` that do not overlap, ascending."""
    if not isinstance(text, bytes):
        yield from _occurrences(text, needle, start, end)
        return
    position = text.find(needle, start, end)
    while position >= 0:
        yield position
        position = text.find(needle, position + len(needle), end)


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
