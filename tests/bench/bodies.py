"""Messages for load: each one different, with the entropy of real mail, at the price of a few memory copies.

Text is made of invented words with the frequencies of a natural language (Zipf) and varying punctuation, attachments
are base64 of random bytes. Compression saves at most 30 % of a message, as with real office mail.
"""

from __future__ import annotations

import base64
import itertools
import random

VOCABULARY = 20_000
PROSE_OCTETS = 1 << 20
BINARY_OCTETS = 3 << 20  # random octets before base64
LINE_OCTETS = 78  # a full base64 line with its CRLF
TEXT_SHARE = 0.45  # of a small message; the rest is an attachment
MOST_TEXT = 3000  # octets of text in a large one
ID_OCTETS = 20

_SYLLABLES = [c + v + e for c in "bcdfghjklmnprstvwz" for v in "aeiou" for e in ("", "", "n", "r", "s", "t", "l")]


def prose(rnd: random.Random, octets: int) -> bytes:
    """Text in lines of up to about 72 octets, CRLF, none of which begins with a dot."""
    words = ["".join(rnd.choices(_SYLLABLES, k=rnd.choice((1, 2, 2, 3, 3, 4)))) for _ in range(VOCABULARY)]
    weights = list(itertools.accumulate(1 / (rank + 2.7) ** 0.95 for rank in range(VOCABULARY)))
    lines: list[str] = []
    size = 0
    while size < octets:
        line, start = "", True
        for word in rnd.choices(words, cum_weights=weights, k=14):
            word = word.capitalize() if start or rnd.random() < 0.04 else word
            if rnd.random() < 0.05:
                word = str(rnd.randrange(10_000))
            mark = rnd.choices(("", ",", ".", "?"), (80, 12, 7, 1))[0]
            start = mark in {".", "?"}
            if len(line) + len(word) > 70:
                break
            line += word + mark + " "
        lines.append(line.rstrip() + "\r\n")
        size += len(lines[-1])
    return "".join(lines).encode()


class Bodies:
    """Makes messages of exactly `size` octets. Two makers of one seed and size make the same messages."""

    def __init__(self, size: int, seed: int = 1) -> None:
        self._rnd = random.Random(seed)
        self._prose = prose(self._rnd, PROSE_OCTETS)
        encoded = base64.b64encode(self._rnd.randbytes(BINARY_OCTETS))
        self._binary = b"".join(encoded[i : i + 76] + b"\r\n" for i in range(0, len(encoded) - 76, 76))
        self._size = size

    def make(self, number: int) -> bytes:
        """One whole message; `number` makes its Message-ID."""
        head = (
            b"From: Load Generator <load@sender.test>\r\nTo: <user@example.test>\r\nSubject: %b\r\n"
            b"Date: Mon, 06 May 2024 10:00:00 +0200\r\nMessage-ID: <%020d@sender.test>\r\nMIME-Version: 1.0\r\n"
            b'Content-Type: multipart/mixed; boundary="=_bnd"\r\n\r\n'
            b"--=_bnd\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        ) % (self._cut(self._prose, 40).replace(b"\r\n", b" ").strip(), number)
        middle = (
            b"\r\n--=_bnd\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n"
            b"Content-Disposition: attachment; filename=a.pdf\r\n\r\n"
        )
        end = b"\r\n--=_bnd--\r\n"
        room = self._size - len(head) - len(middle) - len(end)
        if room < 100:
            raise ValueError(f"a message needs more than {self._size} octets")
        text = min(MOST_TEXT, int(room * TEXT_SHARE))
        body = self._cut(self._prose, text)
        return b"".join((head, body, middle, self._lines(room - len(body)), end))

    def _cut(self, source: bytes, octets: int) -> bytes:
        """A piece that starts at a line's start; its last line may be cut, but never inside CRLF."""
        start = source.index(b"\r\n", self._rnd.randrange(len(source) - octets - 200)) + 2
        piece = source[start : start + octets]
        return piece[:-1] + b"x" if piece.endswith(b"\r") else piece

    def _lines(self, octets: int) -> bytes:
        start = self._rnd.randrange((len(self._binary) - octets) // LINE_OCTETS) * LINE_OCTETS
        piece = self._binary[start : start + octets]
        return piece[:-1] + b"=" if piece.endswith(b"\r") else piece
