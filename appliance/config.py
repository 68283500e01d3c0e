"""The configuration: one TOML file, read into frozen dataclasses, with every problem found at once.

A section declares name, type, default and help of its settings in one place; the reference in `docs/settings.md` is
made from the same declarations.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from appliance.errors import AddressError, ConfigError, Problem
from appliance.mail.address import domain_key, normal_domain

T = TypeVar("T")
Key = tuple[str | int, ...]

_BAD: Any = object()  # what is made of a value that does not fit

WIDEST_RELAY_NETWORK = {4: 8, 6: 16}  # prefix lengths; anything wider is as good as a default route


def setting(default: Any, help: str, *, secret: bool = False) -> Any:  # noqa: A002 - the word people expect
    """Declare one setting of a section: its default and the sentence that documents it.

    `secret` keeps its value out of `palomar config`. The type is the field's annotation.
    """
    metadata = {"help": help, "secret": secret}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file and the dataclass that it fills; the name "" is the top level."""

    name: str
    cls: type


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on: `127.0.0.1:25`, `[::1]:25`, `:25` (every address), `unix:/run/x.sock`."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read one address. Raises ValueError in words."""
        if text.startswith("unix:"):
            if not text[5:]:
                raise ValueError("unix: needs a path")
            return cls(text[5:], 0)
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is no address: write host:port, [ipv6]:port, :port or unix:/path")
        if host.startswith("["):
            host = host[1:-1] if host.endswith("]") else host
        if host:
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise ValueError(f"{host!r} is no IP address; IPv6 goes in brackets, names are not resolved") from None
        return cls(host, int(port))

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix socket; `host` is its path then."""
        return self.port == 0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.is_unix or (bool(self.host) and ipaddress.ip_address(self.host).is_loopback)

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreConfig:
    """The top level of the file."""

    hostname: str = setting("palomar.local", "This machine's name in greetings, Received fields and certificates.")
    domains: tuple[str, ...] = setting((), "Mail domains whose mailboxes are here; more can be added in the store.")
    postmaster: str = setting("", "Account that gets mail for postmaster@ and undeliverable bounces; empty: the first.")
    data: Path = setting(Path("data"), "Folder for everything that lasts; relative to this file.")
    plugins: tuple[str, ...] = setting(
        ("mda", "smtp", "imap4", "pop3", "smarthost", "relay"), "Roles to load, by plugin name."
    )
    plugin_folder: Path | None = setting(None, "Folder of single-file plugins; each file may then be named in plugins.")
    relay_networks: tuple[str, ...] = setting(
        (), "Networks that may send to anywhere without logging in. Keep it empty unless a printer needs it."
    )

    def __post_init__(self) -> None:
        for name in (self.hostname, *self.domains):
            try:
                normal_domain(name)
            except AddressError as error:
                raise ValueError(f"{name!r} is no domain name: {error}") from None
        for text in self.relay_networks:
            network = ipaddress.ip_network(text)
            if network.prefixlen < WIDEST_RELAY_NETWORK[network.version]:
                raise ValueError(f"relay_networks: {text} would open the relay to the world")
        # However they are written in the file, mail is compared with one form of them.
        object.__setattr__(self, "hostname", domain_key(normal_domain(self.hostname)))
        object.__setattr__(self, "domains", tuple(domain_key(normal_domain(name)) for name in self.domains))


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreConfig:
    """[store]"""

    compress: bool = setting(True, "Compress message texts where that saves at least a tenth.")
    reserve_mib: int = setting(32, "Disk space kept back in MiB; below it new mail is deferred with 452.")
    trace_rows: int = setting(200_000, "Rows kept in the message trace; the oldest go first.")

    def __post_init__(self) -> None:
        if not 0 <= self.reserve_mib <= 1024:
            raise ValueError(f"reserve_mib must be within 0..1024, not {self.reserve_mib}")
        if not 1000 <= self.trace_rows <= 10_000_000:
            raise ValueError(f"trace_rows must be within 1000..10000000, not {self.trace_rows}")


CORE_SECTIONS = (Section("", CoreConfig), Section("store", StoreConfig))


class Settings:
    """All sections, by their class: `settings[SmtpConfig].max_size`."""

    def __init__(self, values: Mapping[type, object], document: Document, sections: Sequence[Section]) -> None:
        self._values = dict(values)
        self.document = document
        self.sections = tuple(sections)

    def __getitem__(self, cls: type[T]) -> T:
        value = self._values[cls]
        assert isinstance(value, cls)
        return value

    def problem(self, name: str, text: str, remedy: str = "") -> Problem:
        """A Problem with setting `name` (dotted), with the file and line where it stands."""
        return self.document.problem(tuple(name.split(".")), text, remedy)

    @classmethod
    def of(cls, *values: object) -> Settings:
        """Settings from ready instances, for tests and tools."""
        return cls({type(value): value for value in values}, Document({}, Path("-"), {}), ())


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
            text = path.read_text(encoding="utf-8")
            return cls(tomllib.loads(text), path, dict(_key_lines(text)))
        except OSError as error:
            problem = Problem(
                "file", f"cannot read {path}: {error.strerror}", "Name the file with --config.", str(path)
            )
        except UnicodeDecodeError as error:
            problem = Problem("file", f"not UTF-8 at byte {error.start}", "Save it as UTF-8.", str(path))
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"at line (\d+)", str(error))
            problem = Problem("file", f"no TOML: {error}", "", str(path), int(found[1]) if found else 0)
        raise ConfigError([problem])

    def problem(self, key: Key, text: str, remedy: str = "") -> Problem:
        """A Problem at `key`, or at the nearest table around it that stands in the file."""
        near = key
        while near and near not in self.lines:
            near = near[:-1]
        return Problem(_dotted(key), text, remedy, str(self.path), self.lines.get(near, 0))

    def table(self, name: str) -> dict[str, Any] | None:
        """The table of that dotted name, {} if it is not there, None if something else stands in its place."""
        value: Any = self.data
        for part in name.split(".") if name else ():
            value = value.get(part, {})
            if not isinstance(value, dict):
                return None
        return typing.cast("dict[str, Any]", value)


def core_settings(document: Document) -> tuple[CoreConfig, list[Problem]]:
    """Read only the top level, which names the plugins. Unknown tables are no problem yet."""
    tables = [Section(name, object) for name, value in document.data.items() if isinstance(value, dict)]
    problems: list[Problem] = []
    value = _fill(document, Section("", CoreConfig), [*CORE_SECTIONS, *tables], problems)
    return (CoreConfig() if value is _BAD else typing.cast("CoreConfig", value)), problems


def settings_from(
    document: Document, sections: Sequence[Section], *, known: Mapping[str, str] | None = None
) -> Settings:
    """Fill every section. Raises ConfigError with all problems.

    `known` maps names of tables that exist but are not loaded to the plugin that would bring them, for the remedy.
    """
    settings, problems = read_settings(document, sections, known=known)
    if problems:
        raise ConfigError(problems)
    return settings


def read_settings(
    document: Document, sections: Sequence[Section], *, known: Mapping[str, str] | None = None
) -> tuple[Settings, list[Problem]]:
    """Fill every section as far as that goes, so that the rest can be checked too.

    Where there are problems, wrong settings have their defaults, and sections that cannot be made at all are not
    among `Settings.sections`.
    """
    problems: list[Problem] = []
    values = {section.cls: _fill(document, section, sections, problems) for section in sections}
    problems += _unknown_tables(document, sections, known or {})
    made = [section for section in sections if values[section.cls] is not _BAD]
    return Settings({section.cls: values[section.cls] for section in made}, document, made), problems


def _unknown_tables(document: Document, sections: Sequence[Section], known: Mapping[str, str]) -> Iterator[Problem]:
    names = {section.name for section in sections}
    heads = {name.split(".")[0] for name in names}
    for name, value in document.data.items():
        if not isinstance(value, dict) or name in heads:
            continue
        if name in known:
            remedy = f"Add {known[name]!r} to plugins, or remove the table."
        else:
            remedy = _nearest(name, heads)
        yield document.problem((name,), "no loaded plugin has this table.", remedy)


def _fill(document: Document, section: Section, sections: Sequence[Section], problems: list[Problem]) -> object:
    key: Key = tuple(section.name.split(".")) if section.name else ()
    table = document.table(section.name)
    if table is None:
        problems.append(document.problem(key, "must be a table", f"Write [{section.name}] and settings below it."))
        return _BAD
    prefix = f"{section.name}." if section.name else ""
    inner = {
        s.name[len(prefix) :].split(".")[0] for s in sections if s.name.startswith(prefix) and s.name != section.name
    }
    if not section.name:  # tables at the top level are judged by _unknown_tables
        inner |= {name for name, value in table.items() if isinstance(value, dict) and name not in _fields(section.cls)}
    return _dataclass(document, key, section.cls, {k: v for k, v in table.items() if k not in inner}, problems)


def _fields(cls: type) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(cls)}


def _dataclass(document: Document, key: Key, cls: type, table: dict[str, Any], problems: list[Problem]) -> object:
    """Make one instance from a table, with the defaults in place of wrong settings; _BAD when that cannot be."""
    hints = typing.get_type_hints(cls)
    fields = _fields(cls)
    before = len(problems)
    values = {}
    for name, value in table.items():
        if name not in fields:
            problems.append(document.problem((*key, name), "there is no such setting.", _nearest(name, fields)))
        elif (made := _value(document, (*key, name), hints[name], value, problems)) is not _BAD:
            values[name] = made
    for name, field in fields.items():
        if isinstance(field.default, Path) and field.default != Path() and name not in values:
            values[name] = document.path.parent / field.default
        if name not in table and field.default is MISSING and field.default_factory is MISSING:
            problems.append(document.problem(key, f"needs the setting {name!r}.", f"Add {name} = …"))
    try:
        return cls(**values)
    except TypeError:
        if len(problems) > before:
            return _BAD  # a setting without default is missing or wrong, and that is said already
        raise
    except ValueError as error:
        if len(problems) == before:
            named = next((name for name in fields if re.search(rf"\b{name}\b", str(error))), None)
            problems.append(document.problem((*key, named) if named else key, str(error)))
        return _BAD


def _value(document: Document, key: Key, hint: Any, value: Any, problems: list[Problem]) -> Any:
    """Convert one TOML value to the annotated type; records a problem and returns _BAD when it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType} and type(None) in arguments:
        return _value(document, key, next(a for a in arguments if a is not type(None)), value, problems)
    if dataclasses.is_dataclass(hint) and hint is not Bind and isinstance(value, dict):
        return _dataclass(document, key, typing.cast("type", hint), value, problems)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis and isinstance(value, list):
        items = tuple(_value(document, (*key, n), arguments[0], item, problems) for n, item in enumerate(value))
        return _BAD if any(item is _BAD for item in items) else items
    if origin is dict and isinstance(value, dict):
        table = {name: _value(document, (*key, name), arguments[1], item, problems) for name, item in value.items()}
        return _BAD if any(item is _BAD for item in table.values()) else table
    try:
        return _plain(document, hint, value)
    except _WrongTypeError as error:
        problems.append(document.problem(key, f"{error}.", error.remedy))
    except ValueError as error:
        problems.append(document.problem(key, f"{error}."))
    return _BAD


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


class _WrongTypeError(ValueError):
    """A value has another TOML type than its setting."""

    def __init__(self, wanted: type, value: object) -> None:
        words, self.remedy = _TYPES[wanted]
        found, _ = _TYPES.get(type(value), (type(value).__name__, ""))
        super().__init__(f"must be {words}, not {found}")


def _plain(document: Document, hint: Any, value: Any) -> Any:
    if hint is Path and isinstance(value, str):
        return document.path.parent / Path(value).expanduser()
    if hint is Bind and isinstance(value, str):
        return Bind.parse(value)
    if typing.get_origin(hint) is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(map(repr, allowed))}, not {value!r}")
        return value
    if typing.get_origin(hint) is tuple:
        raise _WrongTypeError(list, value)
    if typing.get_origin(hint) is dict or (dataclasses.is_dataclass(hint) and hint is not Bind):
        raise _WrongTypeError(dict, value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _WrongTypeError(hint, value)
    return value


def _nearest(name: str, names: typing.Iterable[str]) -> str:
    names = sorted(n for n in names if n)
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "top level"


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def _parts(text: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(text)]


def _key_lines(text: str) -> Iterator[tuple[Key, int]]:
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
