"""What lies beside the built image, read by other people's readers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from image.products.digest import sha256_of
from image.products.imager import SCHEMA
from image.qemu import BUILT

pytestmark = pytest.mark.image

COMPRESSED_MIB = 250


@pytest.fixture(scope="module")
def products() -> Path:
    """The folder of the last build's products."""
    return (BUILT / "products").resolve()


def one(products: Path, ending: str) -> Path:
    (found,) = products.glob(f"*{ending}")
    return found


def test_the_image_is_small(products: Path, report: dict[str, Any]) -> None:
    packed = one(products, ".img.xz").stat().st_size / (1 << 20)
    (raw,) = (BUILT / "whole").glob("*.img")
    report.update({"compressed_mib": round(packed, 1), "raw_mib": round(raw.stat().st_size / (1 << 20), 1)})
    assert packed <= COMPRESSED_MIB


def test_the_checksums_are_right(products: Path) -> None:
    for file in products.glob("*.sha256"):
        subprocess.run(["sha256sum", "--check", "--quiet", file.name], cwd=products, check=True)


def test_the_list_of_software_is_valid_and_names_every_licence(products: Path) -> None:
    document = parse_file(str(one(products, ".spdx.json")))
    assert [message.validation_message for message in validate_full_spdx_document(document)] == []
    names = {package.name for package in document.packages}
    assert {"systemd", "raspi-firmware", "u-boot-rpi", "palomar", "uvloop"} <= names
    assert [each.name for each in document.packages if str(each.license_declared) == "NOASSERTION"] == []


def test_the_imager_takes_it(products: Path) -> None:
    entry = json.loads(one(products, ".os_list.json").read_text())
    jsonschema.validate(entry, json.loads(SCHEMA.read_text()))
    (raw,) = (BUILT / "whole").glob("*.img")
    assert entry["os_list"][0]["extract_sha256"] == sha256_of(raw)


def test_bmaptool_takes_the_map(products: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    command = ["bmaptool", "--quiet", "copy", "--bmap", one(products, ".bmap"), one(products, ".img.xz"), card]
    subprocess.run(command, check=True, timeout=600)
