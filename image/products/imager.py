"""The entry by which the Raspberry Pi Imager offers the image: an `os_list` with one system in it.

`os-list.schema.json` beside this file is our own description of that format, strict where the Imager is lenient.
It follows the format's published description (doc/json-schema/os-list-schema.json, doc/schema-notes.md and
src/oslistparser.cpp of raspberrypi/rpi-imager, Apache-2.0). An entry whose `init_format` the Imager does not know is
dropped by it; `rpi-preseed` makes it ask for host name, Wi-Fi, SSH key and locale, and write rpi-preseed.toml.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).with_name("os-list.schema.json")
_ICON = Path(__file__).with_name("icon.svg")

DESCRIPTION = "A small office's mail system: SMTP, IMAP, POP3 on a card"


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """The image as a file to fetch."""

    url: str
    raw_size: int  # bytes, after unpacking
    raw_sha256: str
    packed_size: int
    packed_sha256: str


def os_list(version: str, epoch: int, download: Download, tags: Iterable[str]) -> dict[str, Any]:
    """The document. `epoch` is the release's date (seconds); `tags` are the Imager's names of boards that take it."""
    icon = base64.b64encode(_ICON.read_bytes().strip()).decode()
    entry = {
        "name": f"Palomar {version}",
        "description": DESCRIPTION,
        "icon": f"data:image/svg+xml;base64,{icon}",
        "url": download.url,
        "extract_size": download.raw_size,
        "extract_sha256": download.raw_sha256,
        "image_download_size": download.packed_size,
        "image_download_sha256": download.packed_sha256,
        "release_date": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d"),
        "init_format": "rpi-preseed",
        "devices": sorted(set(tags)),
        "capabilities": [],
    }
    return {"os_list": [entry]}
