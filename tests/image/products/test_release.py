"""The products of a small image, read by what others use to read them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from image.products.digest import sha256_of
from image.products.imager import SCHEMA
from image.products.partitions import TableError, read_partitions, unused_extents
from image.products.prose import DIGITS
from image.products.release import Release, write_products

MIB = 1 << 20
PROSE = b"Debianized long ago.\n"
PROSE_REFERENCE = f"LicenseRef-copyright-file-{hashlib.sha256(PROSE).hexdigest()[:DIGITS]}"
COPYRIGHT = b"Format: copyright-format/1.0\n\nFiles: *\nLicense: GPL-2+ or own\n Do as you like.\n"


def mbr(*parts: tuple[int, int, int]) -> bytes:
    rows = b"".join(struct.pack("<B3xB3xII", 0, kind, start // 512, size // 512) for kind, start, size in parts)
    return bytes(446) + rows.ljust(64, b"\0") + b"\x55\xaa"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    image = tmp_path / "palomar-0.1.0-arm64.img"
    table = mbr((0x0C, 4 * MIB, 4 * MIB), (0x0C, 8 * MIB, 4 * MIB), (0x0C, 12 * MIB, 4 * MIB), (0x83, 16 * MIB, MIB))
    with image.open("wb") as stream:
        stream.write(table)
        stream.seek(8 * MIB)
        stream.write(b"slot" * 1000)
        stream.truncate(17 * MIB)
    slot = tmp_path / "slot.img"
    slot.write_bytes(b"slot" * 1000 + bytes(2 * MIB - 4000))
    products = tmp_path / "products"
    products.mkdir()
    packed = products / "palomar-0.1.0-arm64.img.xz"
    packed.write_bytes(b"packed")
    copyrights = tmp_path / "copyrights"
    copyrights.mkdir()
    (copyrights / "libthing").write_bytes(COPYRIGHT)
    (copyrights / "prose").write_bytes(PROSE)
    site = tmp_path / "site"
    (site / "some_wheel-2.0.dist-info").mkdir(parents=True)
    metadata = "Metadata-Version: 2.4\nName: some_wheel\nVersion: 2.0\nLicense-Expression: MIT\n"
    (site / "some_wheel-2.0.dist-info/METADATA").write_text(metadata)
    return Release(
        version="0.1.0",
        epoch=1_763_942_400,
        inputs="a" * 64,
        image=image,
        packed=packed,
        slot=slot,
        root_hash="b" * 64,
        boards={"pi3": "Raspberry Pi 3 Model B", "pi4": "Raspberry Pi 4 Model B"},
        imager_tags=["pi4-64bit", "pi3-64bit", "pi3-64bit"],
        debian=[
            {
                "package": "libthing",
                "version": "1:1.0-2+b1",
                "architecture": "arm64",
                "maintainer": "A <a@example.org>",
            },
            {"package": "prose", "version": "3", "homepage": "https://example.org/prose"},
        ],
        copyrights=copyrights,
        python=[site],
        base_url="https://example.org/palomar/",
    )


Products = dict[str, Any]


@pytest.fixture
def products(release: Release) -> Products:
    return {path.name.removeprefix("palomar-0.1.0-arm64."): path for path in write_products(release)}


def test_all_are_there(products: Products) -> None:
    assert set(products) == {
        "bmap", "spdx.json", "os_list.json", "manifest.json", "img.xz.sha256", "bmap.sha256", "spdx.json.sha256",
    }  # fmt: skip


def test_the_list_of_software_is_valid_spdx(products: Products) -> None:
    document = parse_file(str(products["spdx.json"]))
    assert [message.validation_message for message in validate_full_spdx_document(document)] == []
    declared = {package.name: str(package.license_declared) for package in document.packages}
    assert declared == {
        "palomar-0.1.0-arm64": "Apache-2.0",
        "libthing": "GPL-2.0-or-later OR LicenseRef-libthing-own",
        "prose": PROSE_REFERENCE,
        "some_wheel": "MIT",
    }
    texts = {info.license_id: info.extracted_text for info in document.extracted_licensing_info}
    assert texts == {"LicenseRef-libthing-own": "Do as you like.", PROSE_REFERENCE: PROSE.decode().strip()}


def test_the_imager_entry_fits_the_schema(products: Products, release: Release) -> None:
    entry = json.loads(products["os_list.json"].read_text())
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(entry, schema)
    system = entry["os_list"][0]
    assert system["url"] == "https://example.org/palomar/palomar-0.1.0-arm64.img.xz"
    assert system["extract_sha256"] == sha256_of(release.image)
    assert (system["extract_size"], system["image_download_size"]) == (17 * MIB, 6)
    assert (system["devices"], system["release_date"]) == (["pi3-64bit", "pi4-64bit"], "2025-11-24")


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda system: system.pop(key)


def setting(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda system: system.update({key: value})


@pytest.mark.parametrize(
    "damage",
    [
        *(without(key) for key in ("name", "icon", "url", "extract_sha256", "devices", "init_format", "release_date")),
        setting("init_format", "cloud-init"),  # the Imager drops an entry whose format it does not know
        setting("extract_sha256", "ABC"),
        setting("extract_size", "17"),
        setting("devices", []),
        setting("release_date", "24.11.2025"),
        setting("url", "palomar.img.xz"),
        setting("typo", 1),
    ],
)
def test_the_schema_refuses_damage(products: Products, damage: Callable[[dict[str, Any]], None]) -> None:
    entry = json.loads(products["os_list.json"].read_text())
    damage(entry["os_list"][0])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(entry, json.loads(SCHEMA.read_text()))


def test_without_an_address_the_entry_points_at_the_file(release: Release) -> None:
    for path in write_products(replace(release, base_url="")):
        if path.name.endswith(".os_list.json"):
            entry = json.loads(path.read_text())
            assert entry["os_list"][0]["url"] == release.packed.resolve().as_uri()
            jsonschema.validate(entry, json.loads(SCHEMA.read_text()))


def test_the_manifest(products: Products) -> None:
    manifest = json.loads(products["manifest.json"].read_text())
    assert [part["label"] for part in manifest["partitions"]] == ["boot", "slot-a", "slot-b", "data"]
    assert manifest["slots"]["a"]["root_hash"] == "b" * 64
    assert manifest["slots"]["b"] is None
    assert manifest["packages"] == {"debian": {"libthing": "1:1.0-2+b1", "prose": "3"}, "python": {"some_wheel": "2.0"}}


def test_the_same_build_has_the_same_products(release: Release) -> None:
    first = [path.read_bytes() for path in write_products(release)]
    assert [path.read_bytes() for path in write_products(release)] == first


def test_an_empty_slot_s_head_is_written_and_the_rest_is_not(release: Release) -> None:
    unused = unused_extents(read_partitions(release.image), 2 * MIB)
    assert [(part.start / MIB, part.end / MIB) for part in unused] == [(512 / MIB, 4), (10, 12), (13, 16)]


@pytest.mark.parametrize("data", [b"", bytes(1024), mbr((0x0C, MIB, MIB))])
def test_what_is_no_image_of_ours_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(data)
    with pytest.raises(TableError, match=r"x\.img"):
        read_partitions(path)
