"""Mail as other programs keep it in files: mbox (RFC 4155, quoted as mboxrd), Maildir, and single messages."""

from __future__ import annotations

import calendar
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from appliance.control import CallError
from appliance.mail.message import with_crlf

MAX_MESSAGE = 256 << 20  # octets of one message; it is held in memory while it is read
MAX_FROM_LINE = 1000  # octets

_SEPARATOR = re.compile(rb"From .*\d:\d\d.* \d{4}\b")  # others forget to quote a sentence that begins with From
_STATUS = re.compile(rb"^(X-)?Status:([^\n]*)\n", re.IGNORECASE | re.MULTILINE)
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_FROM = re.compile(rb"^(>*From )", re.MULTILINE)
_STATUS_FLAGS = {"R": "\\Seen", "A": "\\Answered", "F": "\\Flagged", "D": "\\Deleted", "T": "\\Draft"}
_MAILDIR_FLAGS = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "T": "\\Deleted", "D": "\\Draft"}
_FORWARDED = "$Forwarded"  # Maildir's P, "passed"


@dataclass(frozen=True, slots=True)
class Letter:
    """One message outside the store: its bytes with CRLF, its flags and keywords, when it arrived (epoch seconds)."""

    data: bytes
    flags: tuple[str, ...] = ()
    at: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Where letters come from. `folder` is the mailbox name below the target, empty for the target itself."""

    path: Path
    kind: str  # mbox, maildir, message
    folder: str = ""
    size: int = 0  # octets of the files, for progress


def sources(path: Path, *, decode_name: Callable[[bytes], str]) -> list[Source]:
    """What is to be read at `path`. A Maildir brings its Maildir++ subfolders along. Raises CallError."""
    if is_maildir(path):
        folders = [folder for folder in sorted(path.iterdir()) if folder.name.startswith(".") and is_maildir(folder)]
        found = [Source(path, "maildir", "", _folder_size(path))]
        for folder in folders:
            name = "/".join(decode_name(part.encode()) for part in folder.name[1:].split("."))
            found.append(Source(folder, "maildir", name, _folder_size(folder)))
        return found
    if not path.is_file():
        raise CallError(f"{path} is neither a file nor a Maildir", remedy="A Maildir has the folders cur and new.")
    with path.open("rb") as file:
        kind = "mbox" if file.read(5) == b"From " else "message"
    return [Source(path, kind, "", path.stat().st_size)]


def is_maildir(path: Path) -> bool:
    """Whether the folder is a Maildir."""
    return (path / "cur").is_dir() and (path / "new").is_dir()


def read(source: Source) -> Iterator[tuple[Letter, int]]:
    """Each letter with the octets of the source that it took, for progress. Raises CallError."""
    if source.kind == "maildir":
        yield from _read_maildir(source.path)
        return
    with source.path.open("rb") as file:
        if source.kind == "mbox":
            yield from read_mbox(file)
        else:
            data = file.read(MAX_MESSAGE + 1)
            yield _checked(Letter(with_crlf(data), (), int(source.path.stat().st_mtime))), len(data)


def read_mbox(file: BinaryIO) -> Iterator[tuple[Letter, int]]:
    """Split an mbox at each `From ` line with a time that follows an empty line; the first needs no time."""
    lines: list[bytes] = []
    took = size = 0
    envelope = b""
    after_empty, seen = True, False
    for line in file:
        if (after_empty and _SEPARATOR.match(line)) or (not seen and line.startswith(b"From ")):
            if envelope:
                yield _mbox_letter(envelope, lines), took
            envelope, lines, took, size = line[:MAX_FROM_LINE], [], len(line), 0
        elif envelope:
            lines.append(line)
            took += len(line)
            size += len(line)
            if size > MAX_MESSAGE:
                raise CallError(f"a message passes {MAX_MESSAGE >> 20} MiB")
        after_empty, seen = line in {b"\n", b"\r\n"}, True
    if envelope:
        yield _mbox_letter(envelope, lines), took


def _mbox_letter(envelope: bytes, lines: list[bytes]) -> Letter:
    text = b"".join(lines).replace(b"\r\n", b"\n")
    text = text[:-1] if text.endswith(b"\n\n") else text  # the empty line before the next From
    end = 0 if text.startswith(b"\n") else text.find(b"\n\n") + 1 or len(text)
    head = text[:end]
    letters = "".join(match[2].decode("ascii", "replace") for match in _STATUS.finditer(head))
    data = _STATUS.sub(b"", head) + _QUOTED_FROM.sub(rb"\1", text[end:])
    return _checked(Letter(with_crlf(data), _flags(letters, _STATUS_FLAGS), _from_time(envelope)))


def _from_time(envelope: bytes) -> int:
    """The time in `From ana@palomar.test Tue Nov 24 06:40:10 2026` (UTC, RFC 4155 appendix A), 0 if unreadable."""
    words = envelope.decode("ascii", "replace").split()
    for count in (5, 6):  # a zone may stand at the end
        try:
            return calendar.timegm(time.strptime(" ".join(words[-count:][:5]), "%a %b %d %H:%M:%S %Y"))
        except ValueError:
            continue
    return 0


def _read_maildir(path: Path) -> Iterator[tuple[Letter, int]]:
    for file in sorted([*(path / "cur").iterdir(), *(path / "new").iterdir()], key=lambda f: f.name):
        if file.name.startswith(".") or not file.is_file():
            continue
        with file.open("rb") as opened:
            data = opened.read(MAX_MESSAGE + 1)
        _, _, info = file.name.partition(":2,")
        flags = _flags(info, _MAILDIR_FLAGS) + ((_FORWARDED,) if "P" in info else ())
        yield _checked(Letter(with_crlf(data), flags, int(file.stat().st_mtime))), len(data)


def _flags(letters: str, known: dict[str, str]) -> tuple[str, ...]:
    return tuple(flag for letter, flag in known.items() if letter in letters)


def _checked(letter: Letter) -> Letter:
    if len(letter.data) > MAX_MESSAGE:
        raise CallError(f"a message passes {MAX_MESSAGE >> 20} MiB")
    return letter


def _folder_size(path: Path) -> int:
    return sum(entry.stat().st_size for part in ("cur", "new") for entry in os.scandir(path / part) if entry.is_file())


class Writer(Protocol):
    """A place that letters are exported to."""

    def add(self, letter: Letter) -> None:
        """Write one letter."""

    def close(self) -> None:
        """Finish."""


def writer(path: Path, kind: str) -> Writer:
    """Make a new mbox or Maildir at `path`. Raises CallError when something is there already."""
    if path.exists():
        raise CallError(f"{path} is there already", remedy="Name a new file or folder.")
    return MboxWriter(path) if kind == "mbox" else MaildirWriter(path)


class MboxWriter:
    """Writes letters to an mbox; flags go into Status and X-Status, as other programs expect."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")

    def add(self, letter: Letter) -> None:
        """Append one letter."""
        text = letter.data.replace(b"\r\n", b"\n")
        end = 0 if text.startswith(b"\n") else text.find(b"\n\n") + 1 or len(text)
        marks = "".join(mark for mark, flag in _STATUS_FLAGS.items() if flag in letter.flags)
        status = f"Status: {'R' if 'R' in marks else ''}O\n" + (f"X-Status: {marks}\n" if marks else "")
        moment = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(letter.at))
        self._file.write(f"From MAILER-DAEMON {moment}\n".encode())
        self._file.write(_STATUS.sub(b"", text[:end]) + status.encode() + _FROM.sub(rb">\1", text[end:]))
        self._file.write(b"\n" if text.endswith(b"\n") else b"\n\n")

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class MaildirWriter:
    """Writes letters to a new Maildir."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._host = socket.gethostname().replace("/", "").replace(":", "")
        for part in ("cur", "new", "tmp"):
            (path / part).mkdir(parents=True)

    def add(self, letter: Letter) -> None:
        """Write one file, which bears the flags in its name and the arrival as its time."""
        self._count += 1
        marks = [mark for mark, flag in _MAILDIR_FLAGS.items() if flag in letter.flags]
        marks += ["P"] if _FORWARDED in letter.flags else []
        unique = f"{letter.at}.M{self._count}P{os.getpid()}.{self._host}"
        draft = self._path / "tmp" / unique
        draft.write_bytes(letter.data.replace(b"\r\n", b"\n"))
        os.utime(draft, (letter.at, letter.at))
        draft.rename(self._path / "cur" / f"{unique}:2,{''.join(sorted(marks))}")

    def close(self) -> None:
        """Nothing is left open between letters."""
