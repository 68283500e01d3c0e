"""What a configuration section is made of: its settings, their types and checks; and the core's own two sections.

A section declares name, type, default and help of its settings in one place, and its `problems` say what may not be;
the reference in `docs/settings.md` is made from the same declarations. `appliance.settings` fills sections from a file.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from appliance.document import Document, key_of
from appliance.errors import AddressError, Problem
from appliance.mail.address import domain_key, normal_domain
from appliance.mail.language import Language

T = TypeVar("T")

WIDEST_RELAY_NETWORK = {4: 8, 6: 16}  # prefix lengths; anything wider is as good as a default route
BIND_FORMS = "Write host:port, [ipv6]:port, :port or unix:/path."


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


# ── checks ────────────────────────────────────────────────────────────────────────────────────────────────────────


@runtime_checkable
class Checked(Protocol):
    """A section, or a table inside one, whose values must fit more than their types."""

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with the values, each with its setting, named from here (`hosts[1].port`).

        It is asked when each value has its type; those that had not are at their defaults.
        """


class UnfitError(ValueError):
    """A text is no value of its setting's type; `remedy` says how one is written."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


def within(section: Any, least: float, most: float, *names: str, unit: str = "") -> Iterator[Problem]:
    """Check that settings of a section are numbers from `least` to `most`; `unit` is for the words."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(section)}
    unit = unit and f" {unit}"
    for name in names:
        value = getattr(section, name)
        if not least <= value <= most:
            text = f"must be within {number(least)}..{number(most)}{unit}, not {number(value)}."
            yield Problem(name, text, f"The default is {number(defaults[name])}.")


def domain_name(name: str, text: str) -> Iterator[Problem]:
    """Check that the value of the setting `name` is a domain name, in any spelling."""
    try:
        normal_domain(text)
    except AddressError as error:
        yield Problem(name, f"{text!r} is no domain name: {error}.", 'Write it like "mail.example.org".')


def host_name(name: str, text: str) -> Iterator[Problem]:
    """Check that the value of the setting `name` is the name of a host, or an IP address."""
    if not text:
        yield Problem(name, "must be set.", "Write the name or address of the other server.")
        return
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield from domain_name(name, text)


def source_address_problems(name: str, addresses: Sequence[str]) -> Iterator[Problem]:
    """Check that the setting `name` holds addresses to connect from: of each IP version one at most."""
    versions = []
    for text in addresses:
        try:
            versions.append(ipaddress.ip_address(text).version)
        except ValueError:
            yield Problem(name, f"{text!r} is no IP address.", "Names are not looked up here.")
    if len(versions) != len(set(versions)):
        yield Problem(name, "two addresses are of one kind.", "Keep one IPv4 and one IPv6 address.")


def number(value: float) -> str:
    """A number as it is written in the file: without an exponent, and without a fraction of zero."""
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


# ── types ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on: `127.0.0.1:25`, `[::1]:25`, `:25` (every address), `unix:/run/x.sock`."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read one address. Raises UnfitError."""
        if text.startswith("unix:"):
            if not text[5:]:
                raise UnfitError("unix: needs a path", BIND_FORMS)
            return cls(text[5:], 0)
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 65536:
            raise UnfitError(f"{text!r} is no address", BIND_FORMS)
        if host.startswith("["):
            host = host[1:-1] if host.endswith("]") else host
        if host:
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise UnfitError(
                    f"{host!r} is no IP address", "IPv6 goes in brackets; names are not resolved."
                ) from None
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
    language: Language = setting("en", "In which the appliance writes to people; an account may have its own: en, es.")
    data: Path = setting(Path("data"), "Folder for everything that lasts; relative to this file.")
    plugins: tuple[str, ...] = setting(
        (
            *("door", "srs", "mda", "smtp", "imap4", "pop3", "smarthost", "relay"),
            *("spam.spf", "spam.dkim", "spam.arc", "spam.dmarc", "spam.lists", "spam.attachments", "spam.heuristics"),
            *("spam.bayes", "spam.judge"),
        ),
        "Roles to load, by plugin name.",
    )
    plugin_folder: Path | None = setting(None, "Folder of single-file plugins; each file may then be named in plugins.")
    relay_networks: tuple[str, ...] = setting(
        (), "Networks that may send to anywhere without logging in. Keep it empty unless a printer needs it."
    )

    proxy_networks: tuple[str, ...] = setting(
        (), "Networks of proxies; every connection from there begins with a header of the PROXY protocol (1 or 2)."
    )

    proxy_ports: tuple[int, ...] = setting(
        (), "The ports where they do so; empty: all. A first-level server brings mail to port 25 without a header."
    )

    def __post_init__(self) -> None:
        # However they are written in the file, mail is compared with one form of them.
        object.__setattr__(self, "hostname", _domain_key(self.hostname))
        object.__setattr__(self, "domains", tuple(map(_domain_key, self.domains)))

    def problems(self) -> Iterator[Problem]:
        """Names that are none, and networks that would open the relay."""
        yield from domain_name("hostname", self.hostname)
        for name in self.domains:
            yield from domain_name("domains", name)
        for text in self.relay_networks:
            yield from _relay_network("relay_networks", text)
        for text in self.proxy_networks:
            yield from network("proxy_networks", text)
        for port in self.proxy_ports:
            if not 0 < port < 65_536:
                yield Problem("proxy_ports", f"{port} is no port.", "Write those of your listeners, like [993, 465].")


def _domain_key(name: str) -> str:
    try:
        return domain_key(normal_domain(name))
    except AddressError:
        return name  # told as a problem, as it was written


def network(name: str, text: str) -> Iterator[Problem]:
    """What is wrong with a network that setting `name` holds."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield Problem(name, f"{text!r} is no network.", 'Write it like "192.168.1.0/24" or "2001:db8:1::/48".')
        return
    if text.partition("/")[0] != str(found.network_address):
        yield Problem(name, f"{text} is an address inside a network.", f"Write {found}, or {text.partition('/')[0]}.")


def _relay_network(name: str, text: str) -> Iterator[Problem]:
    if problems := list(network(name, text)):
        yield from problems
        return
    version, length = (one := ipaddress.ip_network(text)).version, one.prefixlen
    if length < (widest := WIDEST_RELAY_NETWORK[version]):
        yield Problem(
            name,
            f"{text} would open the relay to the world.",
            f"Name the networks of your own machines, none wider than /{widest}; people elsewhere log in.",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreConfig:
    """[store]"""

    compress: bool = setting(
        True, "Compress texts where that saves at least a tenth; attachments where they repeat themselves."
    )
    reserve_mib: int = setting(32, "Disk space kept back in MiB; below it new mail is deferred with 452.")
    trace_rows: int = setting(200_000, "Rows kept in the message trace, in 16 MiB at most; the oldest go first.")

    def problems(self) -> Iterator[Problem]:
        """Sizes out of bounds."""
        yield from within(self, 0, 1024, "reserve_mib", unit="MiB")
        yield from within(self, 1000, 10_000_000, "trace_rows")


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

    def problem(self, name: str, text: str, remedy: str) -> Problem:
        """A Problem with setting `name` (as `dotted` writes it), with the file and line where it stands."""
        return self.document.problem(key_of(name), text, remedy)

    def placed(self, problems: Iterable[Problem]) -> list[Problem]:
        """The same problems, each with the file and line where its setting stands."""
        return [self.problem(one.setting, one.text, one.remedy) for one in problems]

    @classmethod
    def of(cls, *values: object) -> Settings:
        """Settings from ready instances, for tests and tools."""
        return cls({type(value): value for value in values}, Document({}, Path("-"), {}), ())
