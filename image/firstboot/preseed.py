"""`rpi-preseed.toml`, which the Raspberry Pi Imager writes: what of it counts here, and what is passed over. Pure.

Read are its hostname, network, SSH keys, locale and time zone. All else is for another system: it is ignored, and
each of its keys is told with its line. Format: raspberrypi/rpi-preseed, schema of config_version 1.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from appliance.config import Section, setting
from appliance.document import Document, Key
from appliance.errors import ConfigError, Problem
from appliance.settings import read_settings
from image.firstboot.config import ssh_key_problems
from image.firstboot.literals import quoted

MAJOR = "1"  # of config_version
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class _System:
    hostname: str = setting("", "Name.")

    def problems(self) -> Iterator[Problem]:
        if self.hostname and (len(self.hostname) > 253 or not _HOSTNAME.fullmatch(self.hostname)):
            yield Problem("hostname", f"{self.hostname!r} is no host name.", "Use letters, digits and hyphens.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ssh:
    enabled: bool = setting(True, "Whether keys count.")
    authorized_keys: tuple[str, ...] = setting((), "Public keys.")

    def problems(self) -> Iterator[Problem]:
        for place, key in enumerate(self.authorized_keys):
            yield from ssh_key_problems(f"authorized_keys[{place}]", key)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wlan:
    ssid: str = setting("", "Name of the network.")
    ssid_hex: str = setting("", "The same as octets.")
    password: str = setting("", "Passphrase, or its 64 hexadecimal digits.", secret=True)
    hidden: bool = setting(False, "Not announced.")
    country: str = setting("", "Two letters.")

    def problems(self) -> Iterator[Problem]:
        try:
            bytes.fromhex(self.ssid_hex).decode()
        except ValueError:
            text = "is no text: network names of arbitrary octets cannot be used here."
            yield Problem("ssid_hex", text, "Give the access point a name of letters and digits.")

    @property
    def name(self) -> str:
        return bytes.fromhex(self.ssid_hex).decode() or self.ssid


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ethernet:
    method: Literal["dhcp", "static", "disabled"] = setting("dhcp", "How.")
    address: str = setting("", "With prefix length.")
    gateway: str = setting("", "Router.")
    dns: tuple[str, ...] = setting((), "Resolvers.")
    interface: str = setting("", "Only this one.")

    def problems(self) -> Iterator[Problem]:
        if self.method == "static":
            try:
                ipaddress.ip_interface(self.address)
            except ValueError:
                yield Problem(
                    "address", f"{self.address!r} is no address.", 'Write it with its prefix, "192.0.2.5/24".'
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Locale:
    timezone: str = setting("", "Place.")
    lang: str = setting("", "Language.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Time:
    ntp: tuple[str, ...] = setting((), "Servers.")


SECTIONS = (
    Section("system", _System),
    Section("ssh", _Ssh),
    Section("wlan", _Wlan),
    Section("ethernet", _Ethernet),
    Section("locale", _Locale),
    Section("time", _Time),
)
_HELPERS = {("wlan", "password_encrypted"), ("wlan", "key_mgmt"), ("config_version",)}  # nothing is lost without
REMOVED = "(removed)"
_IGNORED_SECRETS: tuple[Key, ...] = (("user", "password"), ("connect", "token"))
_REASONS = {
    "user": "Palomar has no user by that name and no login by password; SSH is for admin, by key.",
    "runcmd": "Palomar runs no commands from the card.",
    "mounts": "Palomar's disks are set up by itself.",
    "ca_certificates": "Certificates are named in palomar.toml, [tls].",
    "packages": "Palomar's system is one signed whole.",
    "ssh.password_authentication": "SSH is by key only.",
    "locale.keymap": "there is no login at the keyboard.",
}


@dataclass(frozen=True, slots=True)
class Preseed:
    """What counts. `network` is TOML to be put behind palomar.toml; `sources` says which key each setting is from."""

    hostname: str = ""
    ssh_keys: tuple[str, ...] = ()
    time_zone: str = ""
    locale: str = ""
    network: str = ""
    sources: tuple[tuple[str, Key], ...] = ()
    secrets: tuple[Key, ...] = ()
    unused_secrets: tuple[Key, ...] = ()
    notes: tuple[str, ...] = ()


def read(document: Document, password: str | None = None) -> Preseed:
    """Understand the file. Raises ConfigError with every problem. `password` stands in for a blanked wlan.password."""
    version = document.data.get("config_version")
    if str(version).partition(".")[0] != MAJOR:
        text = "must be set." if version is None else f"{version!r} is a format that is not known here."
        problem = document.problem(("config_version",), text, f'It is read where it says config_version = "{MAJOR}.0".')
        raise ConfigError([problem])
    known, ignored = _sorted_out(document.data)
    fit = Document(known, document.path, document.lines)
    settings, problems = read_settings(fit, SECTIONS)
    if problems:
        raise ConfigError(problems)
    ssh, wlan = settings[_Ssh], settings[_Wlan]
    notes = [_note(document, key) for key in ignored]
    keys = tuple(key.strip() for key in ssh.authorized_keys) if ssh.enabled else ()
    network, sources = _network(wlan, settings[_Ethernet], settings[_Time], password or wlan.password)
    return Preseed(
        hostname=settings[_System].hostname,
        ssh_keys=keys,
        time_zone=settings[_Locale].timezone,
        locale=settings[_Locale].lang.removesuffix(".UTF-8"),
        network=network,
        sources=sources,
        secrets=(("wlan", "password"),) if wlan.password and wlan.name else (),
        unused_secrets=tuple(key for key in _IGNORED_SECRETS if key in ignored),
        notes=tuple(notes),
    )


def _sorted_out(data: dict[str, Any]) -> tuple[dict[str, Any], list[Key]]:
    """The tables with what is known of them, and the keys of all else."""
    known: dict[str, Any] = {}
    ignored: list[Key] = []
    fields = {section.name: set(section.cls.__dataclass_fields__) for section in SECTIONS}  # type: ignore[attr-defined]
    for name, value in data.items():
        if not isinstance(value, dict):
            if (name,) not in _HELPERS:
                ignored.append((name,))
            continue
        known[name] = {key: one for key, one in value.items() if key in fields.get(name, ())}
        ignored += [(name, key) for key in value if key not in known[name] and (name, key) not in _HELPERS]
    return {name: table for name, table in known.items() if name in fields}, ignored


def _note(document: Document, key: Key) -> str:
    name = ".".join(map(str, key))
    line = document.lines.get(key, 0)
    place = f"{document.path}:{line}" if line else str(document.path)
    reason = _REASONS.get(name) or _REASONS.get(str(key[0])) or "it is for another system."
    return f"{place}: {name} is ignored: {reason}"


def _network(wlan: _Wlan, wired: _Ethernet, time: _Time, password: str) -> tuple[str, tuple[tuple[str, Key], ...]]:
    lines: list[str] = []
    sources: list[tuple[str, Key]] = []

    def put(table: str, name: str, text: str, *key: str) -> None:
        lines.append(f"{name} = {text}")
        sources.append((f"{table}.{name}", key))

    def listed(items: tuple[str, ...]) -> str:
        return f"[{', '.join(map(quoted, items))}]"

    dns = wired.dns if wired.method == "static" else ()
    if time.ntp or dns:
        lines.append("[network]")
    if time.ntp:
        put("network", "ntp", listed(time.ntp), "time", "ntp")
    if dns:
        put("network", "dns", listed(dns), "ethernet", "dns")
    if wlan.name:
        lines.append("[network.wifi]")
        put("network.wifi", "ssid", quoted(wlan.name), "wlan", "ssid")
        if password:
            put("network.wifi", "psk", quoted(password), "wlan", "password")
        if wlan.country:
            put("network.wifi", "country", quoted(wlan.country.upper()), "wlan", "country")
        if wlan.hidden:
            put("network.wifi", "hidden", "true", "wlan", "hidden")
    if wired.method != "dhcp":
        lines += ["[network.nics.wired]", f"match = {{ name = {quoted(wired.interface or 'e*')} }}"]
        table = "network.nics.wired"
        if wired.method == "disabled":
            put(table, "use", "false", "ethernet", "method")
        else:
            put(table, "addresses", listed((wired.address,)), "ethernet", "address")
            if wired.gateway:
                name = "gateway6" if ":" in wired.gateway else "gateway"
                put(table, name, quoted(wired.gateway), "ethernet", "gateway")
    return "\n".join(lines), tuple(sources)
