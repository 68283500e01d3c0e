"""Write all that comes with a finished image beside it. The build's last step calls `write_products`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image.products.bmap import write_bmap
from image.products.digest import sha256_of, write_sha256
from image.products.imager import Download, os_list
from image.products.licences import Extracted
from image.products.partitions import Partition, read_partitions, unused_extents
from image.products.sbom import Component, debian_components, document, python_components

LABELS = {1: "boot", 2: "slot-a", 3: "slot-b", 4: "data"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A finished build, as its steps left it."""

    version: str
    epoch: int  # the release's date, seconds since 1970
    inputs: str  # the hash of all that went in
    image: Path  # raw
    packed: Path  # the same, compressed, in the folder where the products go
    slot: Path  # slot A's image
    root_hash: str
    boards: Mapping[str, str]  # name → title, of the boards that this image serves
    imager_tags: Iterable[str]
    debian: Sequence[Mapping[str, str]]  # control fields of the packages, by lower-case name
    copyrights: Path  # copyright files by package
    python: Sequence[Path]  # folders with *.dist-info
    base_url: str = ""  # where the compressed image will be; empty: it stays where it is


def write_products(release: Release) -> list[Path]:
    """Write block map, checksums, SBOM, Imager entry and manifest beside the compressed image; return their paths."""
    folder, stem = release.packed.parent, release.image.name.removesuffix(".img")
    partitions = read_partitions(release.image)
    bmap = folder / f"{stem}.bmap"
    write_bmap(release.image, bmap, unused=unused_extents(partitions, release.slot.stat().st_size))
    raw_sha256 = sha256_of(release.image)
    extracted = Extracted()
    components = {
        "debian": list(debian_components(release.debian, release.copyrights, extracted)),
        "python": list(python_components(*release.python)),
    }
    sbom = folder / f"{stem}.spdx.json"
    _write(sbom, document(stem, release.version, release.epoch, raw_sha256, components, extracted))
    entry = folder / f"{stem}.os_list.json"
    packed_sha256 = sha256_of(release.packed)
    base = release.base_url.rstrip("/") or folder.resolve().as_uri()
    download = Download(
        url=f"{base}/{release.packed.name}",
        raw_size=release.image.stat().st_size,
        raw_sha256=raw_sha256,
        packed_size=release.packed.stat().st_size,
        packed_sha256=packed_sha256,
    )
    _write(entry, os_list(release.version, release.epoch, download, release.imager_tags))
    manifest = folder / f"{stem}.manifest.json"
    _write(manifest, _manifest(release, download, partitions, components))
    return [bmap, sbom, entry, manifest, write_sha256(release.packed), write_sha256(bmap), write_sha256(sbom)]


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _manifest(
    release: Release, download: Download, partitions: Sequence[Partition], components: Mapping[str, Sequence[Component]]
) -> dict[str, Any]:
    return {
        "format": 1,
        "version": release.version,
        "epoch": release.epoch,
        "inputs": release.inputs,
        "image": {"name": release.image.name, "size": download.raw_size, "sha256": download.raw_sha256},
        "packed": {"name": release.packed.name, "size": download.packed_size, "sha256": download.packed_sha256},
        "partitions": [
            {"number": part.number, "label": LABELS[part.number], "start": part.start, "size": part.size}
            for part in partitions
        ],
        "slots": {
            "a": {
                "size": release.slot.stat().st_size,
                "sha256": sha256_of(release.slot),
                "root_hash": release.root_hash,
            },
            "b": None,
        },
        "boards": dict(sorted(release.boards.items())),
        "packages": {
            kind: {component.name: component.version for component in sorted(each, key=lambda part: part.name)}
            for kind, each in components.items()
        },
    }
