"""Proof that nothing unique is in the image: no key, machine id, seed, password, lease, log, or trace of who built it.

Whatever is unique belongs to one card and is made there at first boot. What comes with the image is the same on every
card in the world, so a key in it is everybody's key. The build calls `find_unique` on its trees and fails if anything
is found; a test calls it again on what it takes out of the finished image.

    python -m image.unique root TREE [--trace TEXT …]      exit status 1 if anything is found
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

Tree = Literal["root", "data", "boot"]

MAX_SCANNED_BYTES = 256 << 20
"""A larger file is itself a finding: nothing in the image is that large, and it would not be looked through."""

_CHUNK = 4 << 20
_HOSTNAMES = {b"", b"palomar", b"localhost"}
_NO_PASSWORD_MATCHES = re.compile(rb"[!*]+")  # shadow(5): no hash begins so, hence no password fits


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that must not be there."""

    path: str  # below the tree's root
    kind: str  # the rule's name
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.why}"


@dataclass(frozen=True, slots=True)
class _Named:
    """Files that must not be there, or must be empty, told by their place."""

    kind: str
    why: str
    patterns: tuple[str, ...]  # fnmatch on the whole path, whose `*` also crosses `/`
    may_be_empty: bool = True
    exempt: tuple[str, ...] = ()


_NAMED = (
    _Named("machine id", "is one machine's name", ("etc/machine-id", "var/lib/dbus/machine-id", "identity/machine-id")),
    _Named("machine id", "is one machine's name", ("etc/hostid", "etc/nvme/host*", "etc/iscsi/initiatorname.iscsi")),
    _Named("ssh key", "is one machine's, or opens all of them", ("*/ssh_host_*", "*/.ssh/*", "*authorized_keys*")),
    _Named(
        "random seed",
        "every card would draw the same numbers",
        ("*random-seed*", "*/systemd/credential.secret"),
        exempt=("usr/lib/systemd/*",),  # the program and its unit
    ),
    _Named("lease", "is one machine's address", ("*.lease", "*.leases", "var/lib/dhcp*/*", "*/systemd/timesync/clock")),
    _Named("log", "tells of the build", ("var/log/*", "*.log"), exempt=("var/log/README",)),
    _Named(
        "build leftover",
        "differs from build to build",
        ("var/cache/*", "var/lib/apt/lists/*", "tmp/*", "var/tmp/*", "run/*", "*.dpkg-*", "*-old", "etc/*-"),
        exempt=("usr/*", "*/.gitkeep"),
    ),
    _Named("shell history", "tells of the build", ("*_history", "*/.lesshst", "*/.python_history", "*/.cache/*")),
    _Named("setup code", "every card would have the same", ("*setup-code*",)),
    _Named(
        "key",
        "a key store is one machine's",
        ("*.p12", "*.pfx", "*.jks", "*/.gnupg/*", "*/dkim/*", "identity/*"),
        # The role that signs.
        exempt=tuple(f"usr/lib/palomar/plugins/*.{suffix}" for suffix in ("py", "pyc", "md")),
    ),
)

_BOOT_NAMED = (
    _Named(
        "first-boot file",
        "is what a user puts on a card",
        ("rpi-preseed.toml", "custom.toml", "userconf*", "ssh", "ssh.txt", "wpa_supplicant.conf", "user-data"),
        may_be_empty=False,
    ),
    _Named("reset file", "would wipe each card at first boot", ("RESET*", "reset*"), may_be_empty=False),
)

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----\r?\n([A-Za-z-]+: [^\r\n]*\r?\n)*(\r?\n)?[A-Za-z0-9+/=]{32,}"
)
_CONTENT: tuple[tuple[str, str, re.Pattern[bytes]], ...] = (
    ("private key", "every card would have the same", _PRIVATE_KEY),
    (
        "private key",
        "every card would have the same",
        re.compile(rb"PuTTY-User-Key-File-[23]: |AGE-SECRET-KEY-1[A-Z0-9]{50}"),
    ),
)
# A hash in a program or its documentation is an example; in a settings file it opens something.
_SETTINGS_CONTENT: tuple[tuple[str, str, re.Pattern[bytes]], ...] = (
    (
        "password hash",
        "every card would have the same password",
        re.compile(rb"\$(?:[156y]|2[abxy]|7|gy|argon2id?|scrypt)\$[^\s\"':]{16,}"),
    ),
    (
        "password",
        "every card would have the same",
        re.compile(
            rb"^[ \t]*(?:[\w-]*_)?(?:password|passwd|secret|psk)[ \t]*[=:][ \t]*[\"']?[^\s\"'#{<$]",
            re.MULTILINE | re.IGNORECASE,
        ),
    ),
)
_SETTINGS = ("etc/*", "*.toml", "*.env", "*.txt", "*.cfg", "*.ini", "*.conf", "*.json", "*.yaml", "*.yml")
_NOT_SETTINGS = (
    "usr/*",
    "etc/ssl/*",
    "etc/pam.d/*",
    "etc/nsswitch.conf",
    "etc/ssh/moduli",
    "etc/shadow",
    "etc/gshadow",
)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    # The leading slash lets "*/name" match at the top as well.
    return any(fnmatch.fnmatchcase(path, p) or fnmatch.fnmatchcase("/" + path, p) for p in patterns)


def _passwords(lines: bytes, field: int, opens: str) -> Iterator[str]:
    """Accounts of a colon-separated file with something else than "no password fits" in `field`."""
    for line in lines.splitlines():
        parts = line.split(b":")
        if len(parts) <= field or line.startswith(b"#"):
            continue
        word = parts[field]
        name = parts[0].decode("ascii", "replace")
        if not word:
            yield f"{name} has an empty password, which {opens} without one"
        elif not _NO_PASSWORD_MATCHES.fullmatch(word):
            yield f"{name} has a password hash"


def _account_files(path: str, data: bytes) -> Iterator[Finding]:
    if path in {"etc/shadow", "etc/gshadow"}:
        yield from (Finding(path, "password", why) for why in _passwords(data, 1, "opens it"))
    elif path == "etc/passwd":
        shadowed = b"\n".join(line for line in data.splitlines() if line.split(b":")[1:2] != [b"x"])
        yield from (Finding(path, "password", why) for why in _passwords(shadowed, 1, "opens it"))
    elif path == "etc/hostname" and data.strip() not in _HOSTNAMES:
        yield Finding(path, "host name", f"is the build machine's? {data.strip()!r}")
    elif path == "etc/resolv.conf" and re.search(rb"^\s*(nameserver|search|domain)\s", data, re.MULTILINE):
        yield Finding(path, "build leftover", "names the build machine's network")


def _compiled(path: str, head: bytes) -> Iterator[Finding]:
    """PEP 552: without the flag for a hash it holds the time at which its source was written."""
    if path.endswith(".pyc") and len(head) >= 16 and not head[4] & 1:
        yield Finding(path, "compiled code", "holds a file's time; compile with --invalidation-mode unchecked-hash")


def _chunks(file: Path, overlap: int) -> Iterator[bytes]:
    """The file in pieces that overlap, so that what is looked for is whole in one of them."""
    with file.open("rb") as stream:
        tail = b""
        while chunk := stream.read(_CHUNK):
            yield tail + chunk
            tail = chunk[-overlap:]


def _contents(file: Path, path: str, traces: Sequence[bytes]) -> Iterator[Finding]:
    rules = _CONTENT
    if _matches(path, _SETTINGS) and not _matches(path, _NOT_SETTINGS):
        rules += _SETTINGS_CONTENT
    seen: set[tuple[str, str]] = set()
    for number, chunk in enumerate(_chunks(file, 4096)):
        if number == 0:
            yield from _account_files(path, chunk)
            yield from _compiled(path, chunk[:16])
        found = [(kind, why) for kind, why, pattern in rules if pattern.search(chunk)]
        found += [("trace of the build", f"has {trace.decode()!r}") for trace in traces if trace in chunk]
        for kind, why in found:
            if (kind, why) not in seen:
                seen.add((kind, why))
                yield Finding(path, kind, why)


def _names(path: str, size: int, rules: Sequence[_Named]) -> Iterator[Finding]:
    for rule in rules:
        if _matches(path, rule.patterns) and not _matches(path, rule.exempt) and (size or not rule.may_be_empty):
            yield Finding(path, rule.kind, rule.why)


def _machine_id_placeholder(file: Path, path: str) -> bool:
    return path == "etc/machine-id" and file.read_bytes().strip() == b"uninitialized"  # machine-id(5)


def _walk(top: Path, problem: Callable[[OSError], None]) -> Iterator[tuple[str, os.stat_result]]:
    for folder, folders, files in os.walk(top, onerror=problem):
        folders.sort()
        for name in sorted(files):
            full = os.path.join(folder, name)
            yield os.path.relpath(full, top), os.lstat(full)


def find_unique(top: Path, tree: Tree, *, traces: Sequence[str] = ()) -> list[Finding]:
    """Look through all files below `top` and return what must not be there, in order of path.

    `tree` says what it is: "root" (a whole root, `etc` on top), "data" (the data partition's seed, in which no file is
    expected at all) or "boot" (the FAT partition). `traces` are texts that must occur in no file: the build's folders,
    host name, mirror. The tree's own absolute path is always one. An unreadable file or folder raises OSError.
    """

    def problem(error: OSError) -> None:
        raise error

    words = sorted({str(top.resolve()), *traces} - {"/", ""})
    found: set[Finding] = set()
    for path, status in _walk(top, problem):
        if not stat.S_ISREG(status.st_mode):
            continue  # a link's text is checked by where it leads; devices have no content
        if tree == "data":
            found.add(Finding(path, "data", "the data partition comes without files; they are made at first boot"))
        file = top / path
        if not _machine_id_placeholder(file, path):
            found.update(_names(path, status.st_size, _NAMED + (_BOOT_NAMED if tree == "boot" else ())))
        if status.st_size > MAX_SCANNED_BYTES:
            found.add(Finding(path, "size", f"{status.st_size} bytes are more than is looked through"))
        elif status.st_size:
            found.update(_contents(file, path, [word.encode() for word in words]))
    return sorted(found)


@click.command()
@click.argument("tree", type=click.Choice(["root", "data", "boot"]))
@click.argument("top", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--trace", "traces", multiple=True, help="Text that must occur in no file; may be given several times.")
def main(tree: Tree, top: Path, traces: tuple[str, ...]) -> None:
    """Look for keys, passwords and other unique things in an unpacked TREE of the image below TOP."""
    found = find_unique(top, tree, traces=traces)
    for finding in found:
        click.echo(str(finding), err=True)
    click.echo(f"{len(found)} finding(s) in {top}", err=True)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
