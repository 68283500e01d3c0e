"""Dialogues of POP3 against a real store, however TCP cuts them."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from appliance.store.messages import list_rows
from plugins.pop3.config import Pop3Account, Pop3Config
from tests.plugins.pop3.office import DOTS, HELLO, LONG, office

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
CONTROL = str.maketrans({"␍": "\r", "␊": "\n", "␀": "\0"})


def lines(text: str, kind: str) -> bytes:
    """The `C:` or `S:` lines as bytes on the wire."""
    found = [line[3:] for line in text.splitlines() if line[:3].rstrip() == f"{kind}:"]
    return "".join(f"{line.translate(CONTROL)}\r\n" for line in found).encode()


def settings(text: str) -> Pop3Config:
    """What the `T:` lines of a dialogue, in TOML, make of [pop3]."""
    table: dict[str, Any] = tomllib.loads("".join(f"{line[3:]}\n" for line in text.splitlines() if line[:3] == "T: "))
    accounts = {name: Pop3Account(**own) for name, own in table.pop("accounts", {}).items()}
    return Pop3Config(accounts=accounts, **table)


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_transcript(path: Path, size: int, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    removed = [int(uid) for line in text.splitlines() if line.startswith("D: ") for uid in line[3:].split()]
    async with office(tmp_path, settings(text)) as here:
        here.weak = False
        await here.put(HELLO, DOTS, LONG)
        answered = await here.play(lines(text, "C"), size)
        assert answered.decode() == lines(text, "S").decode()
        left = here.store.peek(lambda db: list_rows(db, here.inbox()))
        assert [row[0] for row in left] == [uid for uid in (1, 2, 3) if uid not in removed]
        assert [list(uids) for _, _, uids in here.expunged] == ([removed] if removed else [])
        assert len(here.locks) == 0
