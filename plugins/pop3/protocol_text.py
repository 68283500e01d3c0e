"""Responses and message text as POP3 sends them (RFC 1939 section 3, RFC 2449 section 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

END = b".\r\n"
_BLOCK = 64 * 1024  # octets of text in which lines are counted at once
_STRETCH = 4 * 1024  # octets behind a dot that are looked through for dots at the start of lines


def ok(text: str = "") -> bytes:
    """A positive response of one line. `text` must hold no line ends."""
    return f"+OK {text}\r\n".encode() if text else b"+OK\r\n"


def err(text: str, code: str = "") -> bytes:
    """A negative response, with a response code such as `IN-USE` or `SYS/TEMP` (RFC 2449, RFC 3206) if there is one."""
    return f"-ERR [{code}] {text}\r\n".encode() if code else f"-ERR {text}\r\n".encode()


def listing(text: str, lines: Iterable[str]) -> bytes:
    """A positive response of several lines, none of which begins with a dot or holds a line end."""
    return "".join((f"+OK {text}\r\n", *(f"{line}\r\n" for line in lines), ".\r\n")).encode()


def retrieved(header: bytes, text: Sequence[bytes | memoryview]) -> bytes:
    """The whole response to RETR; the text may be in pieces."""
    head = b"+OK %d octets\r\n" % (len(header) + sum(map(len, text)))
    return stuffed(head, header, *text)  # the line before it ends like all others, so it goes through with the rest


def stuffed(*pieces: bytes | memoryview) -> bytes:
    """A whole message with its dots doubled, its last line ended, and the final line with the single dot."""
    data = b"".join((*pieces, END))
    end = len(data) - len(END)
    if end and data[max(0, end - 2) : end] != b"\r\n":
        data = b"".join((*pieces, b"\r\n", END))
        end += 2
    if _has_dots(data, end):
        data = data[:end].replace(b"\r\n.", b"\r\n..") + END
    return b"." + data if end and data.startswith(b".") else data


def _has_dots(data: bytes, end: int) -> bool:
    """Whether there is a dot after a line end before `end`.

    A dot is found many times faster than a dot behind a line end, and base64 has none: from dot to dot there is
    nothing to look for.
    """
    dot = data.find(b".", 0, end)
    while dot >= 0:
        if data.find(b"\r\n.", max(0, dot - 2), min(end, dot + _STRETCH)) >= 0:
            return True
        dot = data.find(b".", dot + _STRETCH, end)
    return False


class Stuffer:
    """The same for a message that comes in pieces, cut anywhere."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two octets so far: the first line begins after a line end, too

    def feed(self, data: bytes) -> bytes:
        """Double the dots of the next piece."""
        if not data:
            return b""
        before = self._tail
        self._tail = data[-2:] if len(data) > 1 else (before + data)[-2:]
        out = data.replace(b"\r\n.", b"\r\n..") if _has_dots(data, len(data)) else data
        if before == b"\r\n" and data.startswith(b"."):
            return b"." + out
        if before.endswith(b"\r") and data.startswith(b"\n."):
            return b"\n." + out[1:]
        return out

    def finish(self) -> bytes:
        """What follows the last piece."""
        return END if self._tail == b"\r\n" else b"\r\n.\r\n"


def top_length(size: int, read: Callable[[int, int], bytes], lines: int) -> int:
    """How many octets of a text of `size` octets its first `lines` lines have. `read(start, end)` gives the octets.

    Lines are counted in C, block by block; only the block in which the last one ends is looked at line by line.
    """
    start = 0
    while start < size and lines > 0:
        block = read(start, min(size, start + _BLOCK))
        count = block.count(b"\n")
        if count >= lines:
            position = -1
            for _ in range(lines):
                position = block.find(b"\n", position + 1)
            return start + position + 1
        lines -= count
        start += len(block)
    return start
