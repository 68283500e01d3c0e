"""Organisational domains, by the public suffix list (RFC 7489 section 3.2)."""

from __future__ import annotations

import asyncio
import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

log = logging.getLogger(__name__)

_lists: dict[Path | None, PublicSuffixList] = {}


def organization(domain: str, file: Path | None = None) -> str:
    """The organisational domain of a lower-case domain with A-labels: one label below its public suffix.

    A public suffix, and a single label, are their own. `file` replaces the list that was installed with Palomar.
    """
    return _organization(domain, file)


@functools.lru_cache(maxsize=4096)
def _organization(domain: str, file: Path | None) -> str:
    return _list(file).privatesuffix(domain) or domain


async def make_ready(file: Path | None = None) -> None:
    """Read the list beside the loop, unless it was read before: a small board takes a second for it."""
    if file not in _lists:
        _lists[file] = await asyncio.to_thread(_read, file)


def _list(file: Path | None) -> PublicSuffixList:
    if file not in _lists:
        _lists[file] = _read(file)
    return _lists[file]


def _read(file: Path | None) -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # 50 ms, which a start without mail need not take

    if file is not None:
        try:
            with file.open("rb") as lines:
                return PublicSuffixList(lines)
        except (OSError, UnicodeDecodeError) as error:
            log.error("the public suffix list %s cannot be read, the installed one is used: %s", file, error)
    return PublicSuffixList()
