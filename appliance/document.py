"""A TOML file as it was read: its values, and the line of each, so that a problem can say where it stands."""

from __future__ import annotations

import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError, Problem

CONFIG_VARIABLE = "PALOMAR_CONFIG"
CONFIG_PLACES = (Path("palomar.toml"), Path("/etc/palomar/palomar.toml"))
DEMO_CONFIG = Path(__file__).resolve().parent.parent / "demo" / "palomar.toml"

Key = tuple[str | int, ...]
"""The way to a value: names of tables and settings, numbers in lists."""


def find_config(path: Path | None = None) -> Path:
    """The file to use: the one named, that of PALOMAR_CONFIG, or the first usual place that has one."""
    if path is not None:
        return path
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return next((place for place in CONFIG_PLACES if place.exists()), CONFIG_PLACES[0])


def _demo() -> str:
    """In a checkout of the source: where the demo's file is, since `make run` is what most start there."""
    return f"; the demo's is {DEMO_CONFIG}" if DEMO_CONFIG.is_file() else ""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its values and the line of each key."""

    data: dict[str, Any]
    path: Path
    lines: Mapping[Key, int]

    @classmethod
    def read(cls, path: Path) -> Document:
        """Parse the file. Raises ConfigError with the line of a syntax error, or why it cannot be read."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"), path)
        except OSError as error:
            remedy = f"Name the file with --config{_demo()}."
            problem = Problem("file", f"cannot read {path}: {error.strerror}.", remedy, str(path))
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            problem = Problem("file", f"not UTF-8 at byte {error.start}.", "Save it as UTF-8.", str(path), line)
        raise ConfigError([problem])

    @classmethod
    def parse(cls, text: str, path: Path) -> Document:
        """Parse the text of a file; `path` is for messages. Raises ConfigError with the line of a syntax error."""
        try:
            return cls(tomllib.loads(text), path, dict(key_lines(text)))
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"at line (\d+)", str(error))
            line = int(found[1]) if found else len(text.splitlines())  # else it says "at end of document"
            wrong = f"no TOML: {error}."
        except RecursionError:
            line, wrong = 0, "no TOML that we take: lists or tables are nested too deeply."
        remedy = "Correct it there; https://toml.io shows the grammar."
        raise ConfigError([Problem("file", wrong, remedy, str(path), line)])

    def problem(self, key: Key, text: str, remedy: str) -> Problem:
        """A Problem at `key`, with the line of it, or of the nearest table around it that stands in the file."""
        near = key
        while near and near not in self.lines:
            near = near[:-1]
        return Problem(dotted(*key), text, remedy, str(self.path), self.lines.get(near, 0))

    def table(self, name: str) -> dict[str, Any] | None:
        """The table of that dotted name, {} if it is not there, None if something else stands in its place."""
        value: Any = self.data
        for part in name.split(".") if name else ():
            value = value.get(part, {})
            if not isinstance(value, dict):
                return None
        return typing.cast("dict[str, Any]", value)


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_STEP = re.compile(rf"\[(\d+)\]|({_PART.pattern})")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"\s*((?:{_PART.pattern})(?:\s*\.\s*(?:{_PART.pattern}))*)\s*=")


def dotted(*key: str | int) -> str:
    """The name of a setting for people: `smtp.max_size`, `hosts[1].port`, `tls.names."mail.example.org".key`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else f'"{part}"')
    return text or "top level"


def key_of(name: str) -> Key:
    """The way that `dotted` wrote as a name."""
    return tuple(int(number) if number else part.strip("\"'") for number, part in _STEP.findall(name))


def key_lines(text: str) -> Iterator[tuple[Key, int]]:
    """Find the line of every table and key. tomllib keeps no positions; values over several lines are passed over."""
    table: Key = ()
    counts: dict[Key, int] = {}
    closing = ""  # the delimiter of a multi-line string that is still open
    depth = 0  # brackets of a list that is still open
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            closing = "" if closing in line else closing
            continue
        if depth == 0 and (header := _HEADER.match(line)):
            table = tuple(_parts(header[2]))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield table, number
            continue
        rest = line
        if depth == 0 and (assignment := _ASSIGNMENT.match(line)):
            yield (*table, *_parts(assignment[1])), number
            rest = line[assignment.end() :]
        for quotes in ('"""', "'''"):
            if rest.count(quotes) % 2:
                closing = quotes
        plain = re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", rest)
        depth = max(0, depth + plain.count("[") - plain.count("]"))


def _parts(text: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(text)]
