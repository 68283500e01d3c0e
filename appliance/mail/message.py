"""A message as octets with an index: header fields, text, and the MIME tree with its offsets (RFC 5322, RFC 2045)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

from appliance.errors import MessageError
from appliance.mail.headers import Field, scan_fields
from appliance.mail.mime import Part, locate, scan
from appliance.mail.octets import find

if TYPE_CHECKING:
    import mmap

    from appliance.mail.reading import TextRead

Buffer: TypeAlias = Union[bytes, memoryview, "mmap.mmap"]  # quoted: only checkers import mmap

MAX_HEADER = 1 << 20  # octets of the header block; above it a message is not taken
_COPY_OCTETS = 256 * 1024  # a longer text is not copied out of the buffer it came in

__all__ = ["MAX_HEADER", "Buffer", "Message", "Part", "with_crlf"]


class Message:
    """One message, never changed. `header` ends with the empty line if the message has one; `text` follows it.

    A text that is not `bytes` is held as a memoryview: the mapping or buffer under it must outlive the message.
    """

    __slots__ = ("_fields", "_structure", "header", "text", "texts_read")

    def __init__(self, header: bytes, text: Buffer, structure: Part | None = None) -> None:
        """`structure` is the MIME tree where it is known already: it is not scanned again."""
        self.header = header
        self.text: bytes | memoryview = text if isinstance(text, bytes) else memoryview(text)
        self._fields: tuple[Field, ...] | None = None
        self.texts_read: tuple[TextRead, ...] | None = None  # kept by `reading.texts_of`
        self._structure = structure

    @classmethod
    def parse(cls, raw: Buffer) -> Message:
        """Split a message at its first empty line; without one all of it is header.

        Raises MessageError if the header has more than MAX_HEADER octets.
        """
        octets = raw if isinstance(raw, bytes) else memoryview(raw)
        if octets[:2] == b"\r\n":
            end = 2
        else:
            empty_line = find(octets, b"\r\n\r\n", 0, min(len(octets), MAX_HEADER))
            end = empty_line + 4 if empty_line >= 0 else len(octets)
        if end > MAX_HEADER:
            raise MessageError(f"the header has more than {MAX_HEADER} octets")
        if len(octets) - end > _COPY_OCTETS:
            return cls(bytes(octets[:end]), memoryview(octets)[end:])
        return cls(bytes(octets[:end]), bytes(octets[end:]))

    @property
    def size(self) -> int:
        """Octets of header and text."""
        return len(self.header) + len(self.text)

    @property
    def ends_line(self) -> bool:
        """Whether the last octets are a line end."""
        return bytes(self.text[-2:] or self.header[-2:]) == b"\r\n"

    def fields(self) -> Sequence[Field]:
        """The header fields in their order, scanned once."""
        if self._fields is None:
            self._fields = scan_fields(self.header)
        return self._fields

    def get(self, name: bytes) -> bytes | None:
        """The still folded value of the first field of that lower-case name, or None."""
        return next((field.value for field in self.fields() if field.name == name), None)

    def get_all(self, name: bytes) -> list[bytes]:
        """The still folded values of all fields of that lower-case name."""
        return [field.value for field in self.fields() if field.name == name]

    def prepend(self, lines: bytes) -> Message:
        """A message with whole header lines in front and the same text. They must not be MIME fields.

        Raises ValueError if `lines` do not end with a line end or would end the header.
        """
        if lines and (not lines.endswith(b"\r\n") or lines.startswith(b"\r\n") or b"\r\n\r\n" in lines):
            raise ValueError("only whole header lines can be put in front of a message")
        message = Message(lines + self.header, self.text)
        message._structure = self._structure
        return message

    def without(self, names: Collection[bytes]) -> Message:
        """The message without the fields of these lower-case names, the same text. They must not be MIME fields."""
        if not any(field.name in names for field in self.fields()):
            return self
        kept: list[bytes] = []
        position = 0
        for field in self.fields():
            if field.name in names:
                kept.append(self.header[position : field.start])
                position = field.end
        message = Message(b"".join(kept) + self.header[position:], self.text)
        message._structure = self._structure
        return message

    def edited(self, edits: Sequence[tuple[int, int, bytes]]) -> Message:
        """The message with other octets in some places of its header: (start, end, octets), ascending; the same text.

        They must not be in MIME fields, and must not end a line.
        """
        kept: list[bytes] = []
        position = 0
        for start, end, octets in edits:
            if b"\r" in octets or b"\n" in octets:
                raise ValueError("only octets within a line can be put into a header")
            kept += (self.header[position:start], octets)
            position = end
        message = Message(b"".join(kept) + self.header[position:], self.text)
        message._structure = self._structure
        return message

    @property
    def structure(self) -> Part:
        """The MIME tree, scanned once. Offsets count from the start of `text`."""
        if self._structure is None:
            self._structure = scan(self.fields(), self.text)
        return self._structure

    def section(self, path: Sequence[int], what: str = "") -> bytes | None:
        """The octets of one section of RFC 3501 section 6.4.5, or None if the message has no such part.

        `path` holds part numbers, `what` is empty, HEADER, TEXT or MIME: `section((2, 1), "MIME")` is BODY[2.1.MIME].
        """
        span = locate(self.structure, path, what)
        if span is None:
            return None
        if span.origin == "text":
            return bytes(self.text[span.start : span.end])
        return self.header if span.origin == "header" else bytes(self)

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        """The octets of the whole message in pieces of at most about `size` octets."""
        if len(self.header) + len(self.text) <= size:
            yield self.header + bytes(self.text)
            return
        yield self.header
        for start in range(0, len(self.text), size):
            yield bytes(self.text[start : start + size])

    def __bytes__(self) -> bytes:
        return self.header + bytes(self.text)

    def __repr__(self) -> str:
        return f"<Message of {self.size} octets>"


def with_crlf(raw: bytes) -> bytes:
    """Turn each bare LF or CR into CRLF: for mail from local programs and IMAP APPEND, never for SMTP."""
    if raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r"):
        return raw
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
