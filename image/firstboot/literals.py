"""Where the values of a TOML file stand in its text, so that one can be replaced and all else stays as it was. Pure.

`tomllib` keeps no positions, and writing a file anew would lose the user's comments. This scanner only looks at text
that `tomllib` has accepted, and whoever replaces checks the result with `tomllib` again.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.document import Key

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\r\n#]+")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*"""(?:"{1,2}(?!"))?'),
    re.compile(r"'''(?:[^']|'(?!''))*'''(?:'{1,2}(?!'))?"),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Text from `start` up to `end`, that says something about `key`."""

    key: Key
    start: int
    end: int


@dataclass(slots=True)
class Layout:
    """What `scan` found: every string value, and every statement (table header, or key and value)."""

    strings: dict[Key, Span] = field(default_factory=dict)
    statements: list[Span] = field(default_factory=list)


def scan(text: str) -> Layout:
    """Find all strings and statements of a text that is TOML. Raises ValueError where the two disagree."""
    return _Scanner(text).run()


def replaced(text: str, values: Mapping[Key, str]) -> str:
    """The text with other strings in place of those at the given keys. Raises ValueError if that cannot be done."""
    spans = scan(text).strings
    result = text
    for span in sorted((spans[key] for key in values if key in spans), key=lambda span: -span.start):
        result = result[: span.start] + quoted(values[span.key]) + result[span.end :]
    if missing := values.keys() - spans.keys():
        raise ValueError(f"no string at {sorted(map(str, missing))}")
    wanted = tomllib.loads(text)
    for key, value in values.items():
        _put(wanted, key, value)
    if tomllib.loads(result) != wanted:
        raise ValueError("the text would say something else")
    return result


def without(text: str, name: str) -> str:
    """The text without the top-level table or key `name`. Lines keep their numbers. Raises ValueError."""
    result = text
    for span in reversed(scan(text).statements):
        if span.key[:1] == (name,):
            gone = result[span.start : span.end]
            result = result[: span.start] + "\n" * gone.count("\n") + result[span.end :]
    wanted = {key: value for key, value in tomllib.loads(text).items() if key != name}
    if tomllib.loads(result) != wanted:
        raise ValueError("the text would say something else")
    return result


def quoted(text: str) -> str:
    """A string as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def value_at(data: Any, key: Key) -> Any:
    """The value at a key of parsed data, None if there is none."""
    for part in key:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _put(data: Any, key: Key, value: str) -> None:
    for part in key[:-1]:
        data = data[part]
    data[key[-1]] = value


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._arrays: dict[Key, int] = {}  # the number of the last table of each array of tables
        self._layout = Layout()

    def run(self) -> Layout:
        table: Key = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            start = self._at
            if self._text.startswith("[", start):
                table = self._header()
                self._layout.statements.append(Span(table, start, self._at))
            else:
                key = (*table, *self._keys())
                self._expect("=")
                self._value(key)
                self._layout.statements.append(Span(key, start, self._at))
            self._skip(_BLANK)
        return self._layout

    def _header(self) -> Key:
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        parts = self._keys()
        self._expect("]]" if is_array else "]")
        table: Key = ()
        for place, part in enumerate(parts):
            table = (*table, part)
            if is_array and place == len(parts) - 1:
                self._arrays[table] = self._arrays.get(table, -1) + 1
                # tables below the one before belong to that one
                self._arrays = {key: n for key, n in self._arrays.items() if key == table or key[: len(table)] != table}
            if table in self._arrays:
                table = (*table, self._arrays[table])
        return table

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            if self._text[self._at : self._at + 1] in {'"', "'"}:
                start = self._at
                self._string()
                keys.append(str(tomllib.loads(f"k = {self._text[start : self._at]}")["k"]))
            else:
                keys.append(self._take(_BARE_KEY))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _value(self, key: Key) -> None:
        self._skip(_SPACE)
        start = self._at
        first = self._text[start : start + 1]
        if first in {'"', "'"}:
            self._string()
            self._layout.strings[key] = Span(key, start, self._at)
        elif first == "[":
            self._items(key)
        elif first == "{":
            self._inline(key)
        else:
            self._take(_SCALAR)

    def _items(self, key: Key) -> None:
        self._at += 1
        place = 0
        while True:
            self._skip(_BLANK)
            if self._text.startswith("]", self._at):
                self._at += 1
                return
            self._value((*key, place))
            place += 1
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1

    def _inline(self, table: Key) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text.startswith("}", self._at):
                self._at += 1
                return
            key = (*table, *self._keys())
            self._expect("=")
            self._value(key)
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1

    def _string(self) -> None:
        for pattern in _STRINGS:
            if (found := pattern.match(self._text, self._at)) is not None:
                self._at = found.end()
                return
        raise ValueError(f"no string at {self._at}")

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"no TOML at {self._at}")
        self._at = found.end()
        return found[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        assert found is not None  # it matches nothing too
        self._at = found.end()

    def _expect(self, mark: str) -> None:
        self._skip(_SPACE)
        if not self._text.startswith(mark, self._at):
            raise ValueError(f"no {mark} at {self._at}")
        self._at += len(mark)
