"""Debian: lists of packages and modules, the mirror that this machine's apt uses, mmdebstrap's command lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from image.build.command import BuildError

SUITE = "trixie"
COMPONENTS = "main non-free-firmware"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Listed:
    """One line of a list in image/debian."""

    group: str
    name: str
    line: int


def read_list(path: Path) -> list[Listed]:
    """Read `GROUP NAME  # why` lines. Raises BuildError with file and line."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise BuildError(f"{path}:{number}: a line is GROUP NAME and a comment, not {line!r}")
        found.append(Listed(words[0], words[1], number))
    return found


def names(path: Path, group: str) -> list[str]:
    """The names of one group, in the list's order."""
    return [entry.name for entry in read_list(path) if entry.group == group]


@dataclass(frozen=True)
class Mirror:
    """Where Debian is to be had."""

    debian: str
    security: str

    def sources(self) -> str:
        """Lines for apt: the suite, its updates, its security updates."""
        return (
            f"deb {self.debian} {SUITE} {COMPONENTS}\n"
            f"deb {self.debian} {SUITE}-updates {COMPONENTS}\n"
            f"deb {self.security} {SUITE}-security {COMPONENTS}\n"
        )


def find_mirror(apt: Path = Path("/etc/apt"), environ: Mapping[str, str] = os.environ) -> Mirror:
    """Read from apt's own files which mirror this machine uses; PALOMAR_DEBIAN and PALOMAR_DEBIAN_SECURITY win.

    Raises BuildError if apt knows no mirror of Debian (as on another distribution).
    """
    debian, security = environ.get("PALOMAR_DEBIAN", ""), environ.get("PALOMAR_DEBIAN_SECURITY", "")
    for uri, suites in _apt_sources(apt):
        if any(suite.endswith(("-security", "/updates")) for suite in suites):
            security = security or uri
        elif uri.rstrip("/").endswith("/debian"):
            debian = debian or uri
    if not debian:
        raise BuildError(
            f"no mirror of Debian in {apt}",
            remedy="set PALOMAR_DEBIAN (and PALOMAR_DEBIAN_SECURITY) to the address of one, ending in /debian",
        )
    return Mirror(debian, security or f"{debian.rstrip('/')}-security")


def mirror_hosts(apt: Path = Path("/etc/apt"), environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the hosts that packages come from; none of them belongs in an image."""
    mirror = find_mirror(apt, environ)
    return sorted({name for uri in (mirror.debian, mirror.security) if (name := urlsplit(uri).hostname)})


def _apt_sources(apt: Path) -> Iterator[tuple[str, list[str]]]:
    """Every (address, suites) of `deb` lines and deb822 stanzas."""
    for path in sorted([*apt.glob("sources.list"), *apt.glob("sources.list.d/*.list")]):
        for line in path.read_text().splitlines():
            if match := re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", line.strip()):
                yield match[1], [match[2]]
    for path in sorted(apt.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = _fields(stanza)
            if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
                for uri in fields.get("uris", "").split():
                    yield uri, fields.get("suites", "").split()


def _fields(stanza: str) -> dict[str, str]:
    """Fields of one deb822 stanza, names in lower case, comments left out."""
    fields: dict[str, str] = {}
    last = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and last:
            fields[last] += " " + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            last = name.lower()
            fields[last] = value.strip()
    return fields


def package_stanzas(text: str) -> list[dict[str, str]]:
    """Packages of a dpkg status file (or of control files one after the other), sorted by name."""
    stanzas = [_fields(stanza) for stanza in re.split(r"\n\s*\n", text)]
    return sorted((fields for fields in stanzas if "package" in fields), key=lambda fields: fields["package"])


def bootstrap(*, variant: str, architecture: str, include: list[str], extra: tuple[str, ...] = ()) -> list[str]:
    """The words of an mmdebstrap run, without target and sources."""
    apt = (
        'Apt::Install-Recommends "false"',
        'Acquire::Check-Valid-Until "false"',
        'Acquire::Languages "none"',
        'Acquire::Retries "3"',
    )
    return [
        "mmdebstrap",
        "--mode=root",
        f"--variant={variant}",
        f"--architectures={architecture}",
        f"--keyring={KEYRING}",
        *(f"--aptopt={option}" for option in apt),
        *extra,
        f"--include={','.join(sorted(include))}",
        SUITE,
    ]
