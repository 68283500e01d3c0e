"""A message under a filter's hands: a header whose fields can be put, changed and taken away, and its text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from appliance.errors import ProtocolError
from appliance.mail.message import MAX_HEADER, Message, with_crlf
from plugins.milter.protocol import ChangeHeader, NewBody, PutHeader

MAX_NEW_TEXT: Final = 128 * 1024 * 1024  # octets


class Draft:
    """The fields of a message and, where the filter has sent one, its new text.

    Our own Received field in front is not the filter's to see: Sendmail and Postfix do not show theirs either.
    """

    def __init__(self, message: Message, *, leading_space: bool = False) -> None:
        """`leading_space`: the filter wants values as they stand, with the space behind the colon."""
        self._message = message
        self._leading_space = leading_space
        fields = message.fields()
        header = message.header.removesuffix(b"\r\n")
        header += b"\r\n" * (not header.endswith(b"\r\n") and bool(header))
        # Lines that are no field stay behind the one before them.
        starts = [field.start for field in fields]
        self._front = header[: starts[0]] if starts else header
        self._lines = [header[start:end] for start, end in itertools.pairwise([*starts, len(header)])]
        self._shown = [message.header[field.start : field.end] for field in fields]
        self._own = 1 if fields and fields[0].name == b"received" else 0
        self._text: list[bytes] = []
        self._text_size = 0
        self._changed = False

    def shown(self) -> Iterator[tuple[bytes, bytes]]:
        """Name and value of each field that the filter sees. Folded values have LF at their line ends."""
        for line in self._shown[self._own :]:
            name, _, value = line.partition(b":")
            value = value.removesuffix(b"\r\n").replace(b"\r\n", b"\n")
            yield name.rstrip(b" \t"), value if self._leading_space else value.lstrip(b" \t")

    def apply(self, edit: PutHeader | ChangeHeader | NewBody) -> None:
        """Do what the filter says. Raises ProtocolError when the message would pass a limit."""
        self._changed = True
        if isinstance(edit, NewBody):
            self._text.append(edit.data)
            self._text_size += len(edit.data)
            if self._text_size > MAX_NEW_TEXT:
                raise ProtocolError(f"a text of more than {MAX_NEW_TEXT} octets")
        elif isinstance(edit, PutHeader):
            place = len(self._lines)
            if edit.index is not None:  # 0 is before our own field, 1 the first place after it
                place = 0 if not edit.index else min(self._own + edit.index - 1, place)
            self._lines.insert(place, self._line(edit.name, edit.value))
            self._own += place < self._own
        else:
            self._change(edit)

    def _change(self, edit: ChangeHeader) -> None:
        places = [place for place in self._places(edit.name) if place >= self._own]
        if edit.index <= 0 or edit.index > len(places):
            if edit.value:  # as Sendmail does: what is not there to be changed is added
                self._lines.append(self._line(edit.name, edit.value))
            return
        place = places[edit.index - 1]
        if edit.value:
            self._lines[place] = self._line(edit.name, edit.value)
        else:
            del self._lines[place]

    def _places(self, name: bytes) -> Sequence[int]:
        lower = name.lower()
        return [
            place for place, line in enumerate(self._lines) if line.partition(b":")[0].rstrip(b" \t").lower() == lower
        ]

    def _line(self, name: bytes, value: bytes) -> bytes:
        """A whole field. A line end within a value must go on with white space, or it would begin another field."""
        lines = value.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n").split(b"\n")
        folded = [
            lines[0],
            *(line if line[:1] in (b" ", b"\t") else b"\t" + line for line in lines[1:] if line.strip()),
        ]
        return name + (b":" if self._leading_space else b": ") + b"\r\n".join(folded) + b"\r\n"

    def message(self) -> Message:
        """What has become of the message. Raises ProtocolError if its header is too long now."""
        if not self._changed:
            return self._message
        header = self._front + b"".join(self._lines) + b"\r\n"
        if len(header) > MAX_HEADER:
            raise ProtocolError(f"a header of more than {MAX_HEADER} octets")
        return Message(header, with_crlf(b"".join(self._text)) if self._text else self._message.text)
