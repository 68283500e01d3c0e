"""Transcripts against the pure machine: whole, in 7-byte pieces, byte by byte. TCP may cut anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.imap4.protocol_command import State
from tests.plugins.imap4.playing import expected, play, wire

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, size: int) -> None:
    text = path.read_text()
    first = text.splitlines()[0]
    state = State[first[3:]] if first.startswith("@: ") else State.NOT_AUTHENTICATED
    assert play(wire(text), size, state) == expected(text)
