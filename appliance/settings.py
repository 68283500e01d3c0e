"""From the configuration file to filled sections, with every problem found at once."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal

from appliance.config import CORE_SECTIONS, Bind, Checked, CoreConfig, Section, Settings, UnfitError
from appliance.document import Document, Key, key_of
from appliance.errors import ConfigError, Problem

_BAD: Any = object()  # what is made of a value that does not fit


def core_settings(document: Document) -> tuple[CoreConfig, list[Problem]]:
    """Read only the top level, which names the plugins. Unknown tables are no problem yet.

    Where there are problems, wrong settings have their defaults, and lists lack what is wrong in them.
    """
    tables = [Section(name, object) for name, value in document.data.items() if isinstance(value, dict)]
    reader = _Reader(document)
    core = reader.fill(Section("", CoreConfig), [*CORE_SECTIONS, *tables])
    assert isinstance(core, CoreConfig)  # each of its settings has a default
    return core, reader.problems


def settings_from(document: Document, sections: Sequence[Section]) -> Settings:
    """Fill every section. Raises ConfigError with all problems."""
    settings, problems = read_settings(document, sections)
    if problems:
        raise ConfigError(problems)
    return settings


def read_settings(
    document: Document,
    sections: Sequence[Section],
    *,
    known: Mapping[str, str] | None = None,
    passed_over: Collection[str] = (),
) -> tuple[Settings, list[Problem]]:
    """Fill every section as far as that goes, so that the rest can be checked too.

    Where there are problems, wrong settings have their defaults, and sections that cannot be made at all are not
    among `Settings.sections`. `known` maps names of tables that exist but are not loaded to the plugin that would
    bring them, for the remedy. Tables in `passed_over` may be there without a section.
    """
    reader = _Reader(document)
    values = {section.cls: reader.fill(section, sections) for section in sections}
    reader.problems += _unknown_tables(document, sections, known or {}, passed_over)
    made = [section for section in sections if values[section.cls] is not _BAD]
    return Settings({section.cls: values[section.cls] for section in made}, document, made), reader.problems


def secret_keys(settings: Settings) -> Iterator[Key]:
    """The way to every value that is there and declared `secret`, in the order of the sections."""
    for section in settings.sections:
        yield from _secrets(tuple(section.name.split(".")) if section.name else (), settings[section.cls])


def _secrets(key: Key, value: object) -> Iterator[Key]:
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Bind)):
        for field in dataclasses.fields(value):
            inner: object = getattr(value, field.name)
            if field.metadata.get("secret"):
                if inner:
                    yield (*key, field.name)
            else:
                yield from _secrets((*key, field.name), inner)
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from _secrets((*key, place), item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets((*key, name), item)


def _unknown_tables(
    document: Document, sections: Sequence[Section], known: Mapping[str, str], passed_over: Collection[str]
) -> Iterator[Problem]:
    heads = {section.name.split(".")[0] for section in sections}
    for name, value in document.data.items():
        if not isinstance(value, dict) or name in heads or name in passed_over:
            continue
        if name in known:
            remedy = f"Add {known[name]!r} to plugins, or remove the table."
        else:
            remedy = _nearest(name, heads)
        yield document.problem((name,), "no loaded plugin has this table.", remedy)


class _Reader:
    """Makes sections of one document and notes what is wrong on the way."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._unfit: set[Key] = set()  # settings without a usable value

    def fill(self, section: Section, sections: Sequence[Section]) -> object:
        """Make one section, with the defaults in place of wrong settings; _BAD when that cannot be."""
        key: Key = tuple(section.name.split(".")) if section.name else ()
        table = self._document.table(section.name)
        if table is None:
            return self._bad(key, "must be a table.", f"Write [{section.name}] and the settings below it.")
        prefix = f"{section.name}." if section.name else ""
        inner = {s.name[len(prefix) :].split(".")[0] for s in sections if s.name.startswith(prefix) and s != section}
        if not section.name:  # tables at the top level are judged by _unknown_tables
            fields = _fields(section.cls)
            inner |= {name for name, value in table.items() if isinstance(value, dict) and name not in fields}
        return self._dataclass(key, section.cls, {k: v for k, v in table.items() if k not in inner})

    def _bad(self, key: Key, text: str, remedy: str) -> Any:
        self.problems.append(self._document.problem(key, text, remedy))
        self._unfit.add(key)
        return _BAD

    def _dataclass(self, key: Key, cls: type, table: Mapping[str, Any]) -> Any:
        hints = typing.get_type_hints(cls)
        fields = _fields(cls)
        values = {}
        for name, value in table.items():
            if name not in fields:
                self._bad((*key, name), "there is no such setting.", _nearest(name, fields))
            elif (made := self._value((*key, name), hints[name], value)) is not _BAD:
                values[name] = made
        for name, field in fields.items():
            if isinstance(field.default, Path) and field.default != Path() and name not in values:
                values[name] = self._document.path.parent / field.default
            if name not in table and field.default is MISSING and field.default_factory is MISSING:
                self._bad((*key, name), "must be set.", f"Add {name} = …")
        if any(field.default is MISSING and field.default_factory is MISSING for field in _without(fields, values)):
            return _BAD
        return self._checked(key, cls, values)

    def _checked(self, key: Key, cls: type, values: Mapping[str, Any]) -> Any:
        """Make the instance and ask it what is wrong with its values, leaving out what was said already."""
        try:
            made = cls(**values)
            found = list(made.problems()) if isinstance(made, Checked) else []
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            return self._bad(key, f"{error}.", "Correct it; if it seems right, tell whoever wrote the plugin.")
        for one in found:
            whole = (*key, *key_of(one.setting))
            if not any(whole[:length] in self._unfit for length in range(len(whole) + 1)):
                self.problems.append(self._document.problem(whole, one.text, one.remedy))
        return made

    def _value(self, key: Key, hint: Any, value: Any) -> Any:
        """Convert one TOML value to the annotated type; lists and tables keep what is good in them."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in {typing.Union, types.UnionType} and type(None) in arguments:
            return self._value(key, next(a for a in arguments if a is not type(None)), value)
        if dataclasses.is_dataclass(hint) and hint is not Bind and isinstance(value, dict):
            return self._dataclass(key, typing.cast("type", hint), value)
        if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis and isinstance(value, list):
            items = (self._value((*key, place), arguments[0], item) for place, item in enumerate(value))
            return tuple(item for item in items if item is not _BAD)
        if origin is dict and isinstance(value, dict):
            table = {name: self._value((*key, name), arguments[1], item) for name, item in value.items()}
            return {name: item for name, item in table.items() if item is not _BAD}
        try:
            return self._plain(hint, value)
        except UnfitError as error:
            return self._bad(key, f"{error}.", error.remedy)

    def _plain(self, hint: Any, value: Any) -> Any:
        if hint is Path and isinstance(value, str):
            return self._document.path.parent / _path(value)
        if hint is Bind and isinstance(value, str):
            return Bind.parse(value)
        if typing.get_origin(hint) is Literal:
            return _one_of(typing.get_args(hint), value)
        if typing.get_origin(hint) is tuple:
            raise _wrong_type(list, value)
        if typing.get_origin(hint) is dict or (dataclasses.is_dataclass(hint) and hint is not Bind):
            raise _wrong_type(dict, value)
        if hint is float and type(value) is int:
            return float(value)
        if type(value) is not hint:
            raise _wrong_type(hint, value)
        return value


def _fields(cls: type) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(cls)}


def _without(fields: Mapping[str, dataclasses.Field[Any]], values: Collection[str]) -> list[dataclasses.Field[Any]]:
    return [field for name, field in fields.items() if name not in values]


def _path(text: str) -> Path:
    if "\0" in text:
        raise UnfitError("must not hold a NUL", "Write the path as the system knows it.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UnfitError(f"{text} is in the home of a user who is not there", "Write the whole path.") from None


def _one_of(allowed: Sequence[Any], value: object) -> object:
    if value in allowed:
        return value
    listed = ", ".join(map(repr, allowed))
    raise UnfitError(f"must be one of {listed}, not {value!r}", _nearest(str(value), map(str, allowed)))


# What a setting of each type must be, in words, and how that is written in TOML.
_TYPES: dict[Any, tuple[str, str]] = {
    str: ("text", "Put it in quotes."),
    Path: ("a path", "Put it in quotes."),
    Bind: ("an address", 'Put it in quotes, as in "127.0.0.1:25".'),
    int: ("a whole number", "Write digits alone, without quotes."),
    float: ("a number", "Write it without quotes."),
    bool: ("true or false", "Write one of these words, without quotes."),
    list: ("a list", "Put it in square brackets."),
    dict: ("a table", "Write it as name = value, in braces or in a section of its own."),
}


def _wrong_type(wanted: type, value: object) -> UnfitError:
    words, remedy = _TYPES[wanted]
    found, _ = _TYPES.get(type(value), (type(value).__name__, ""))
    return UnfitError(f"must be {words}, not {found}", remedy)


def _nearest(name: str, names: Iterable[str]) -> str:
    names = sorted(n for n in names if n)
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."
