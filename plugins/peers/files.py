"""Lists of recipients in files: one address a line, read again when a file changes."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from appliance.errors import AddressError
from appliance.mail.address import Address, domain_key, normal_domain

log = logging.getLogger(__name__)

MAX_OCTETS = 16 << 20  # of one file


class RecipientFiles:
    """What stands in the files. One that cannot be read any more keeps what it said."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, int, int], frozenset[str]]] = {}
        self._broken: dict[Path, str] = {}

    def names(self, path: Path, address: Address) -> bool:
        """Whether a file has the address, or its domain with all addresses."""
        found = self._current(path)
        return found is not None and (address.key in found or f"@{domain_key(address.domain)}" in found)

    def readable(self, path: Path) -> bool:
        """Whether the file has ever been read."""
        return self._current(path) is not None

    def _current(self, path: Path) -> frozenset[str] | None:
        known = self._read.get(path)
        try:
            status = os.stat(path)
            mark = (status.st_ino, status.st_size, status.st_mtime_ns)
            if known is None or known[0] != mark:
                if status.st_size > MAX_OCTETS:
                    raise OSError(f"larger than {MAX_OCTETS >> 20} MiB")
                known = self._read[path] = mark, _parse(path)
            self._broken.pop(path, None)
        except (OSError, UnicodeDecodeError) as error:
            if self._broken.get(path) != str(error):
                self._broken[path] = str(error)
                log.error("peers: recipients_file %s: %s", path, error)
        return known[1] if known is not None else None


def _parse(path: Path) -> frozenset[str]:
    found = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            if text.startswith("@"):
                found.add(f"@{domain_key(normal_domain(text[1:]))}")
            else:
                found.add(Address.parse(text).key)
        except AddressError as error:
            log.error("peers: recipients_file %s, line %d: %r: %s", path, number, text, error)
    return frozenset(found)
