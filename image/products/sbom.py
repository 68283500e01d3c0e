"""The list of software in the image with its licences: an SPDX 2.3 document in JSON.

Debian's packages are told by their control fields and copyright files, Python's distributions by their METADATA. The
same inputs give the same bytes: the date is the release's, the name space comes from what the document says.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from email.policy import compat32
from pathlib import Path
from typing import Any
from urllib.parse import quote

from image.products import dep5
from image.products.licences import NOT_TOLD, Extracted, all_of, debian_expression, python_expression
from image.products.prose import prose_expression

NAMESPACE = uuid.UUID("5d3ad7c6-1f0e-5c3c-9f49-3a1d0f7a9d10")
MAX_METADATA_BYTES = 1 << 20
OUR_LICENCE = "Apache-2.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One piece of software."""

    name: str
    version: str
    licence: str = NOT_TOLD
    supplier: str = ""
    homepage: str = ""
    purl: str = ""
    note: str = ""  # why the licence is not told, or what it is good for


def debian_components(
    stanzas: Iterable[Mapping[str, str]], copyrights: Path, extracted: Extracted
) -> Iterator[Component]:
    """Debian's packages: control fields by lower-case name, copyright files as `copyrights/PACKAGE`."""
    for fields in stanzas:
        name, version = fields["package"], fields["version"]
        licence, note = _debian_licence(name, copyrights / name, extracted)
        architecture = fields.get("architecture", "arm64")
        yield Component(
            name=name,
            version=version,
            licence=licence,
            supplier=fields.get("maintainer", ""),
            homepage=fields.get("homepage", ""),
            purl=f"pkg:deb/debian/{quote(name)}@{quote(version, safe='.~+-')}?arch={architecture}&distro=trixie",
            note=note,
        )


def _debian_licence(name: str, file: Path, extracted: Extracted) -> tuple[str, str]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return NOT_TOLD, "the package has no copyright file"
    parsed = dep5.parse(data)
    if parsed is None:
        return prose_expression(data, extracted), "the package's copyright file is prose"
    lines = [debian_expression(name, line, parsed.texts.get(line, ""), extracted) for line in parsed.licences]
    return all_of(lines), ""


def python_components(*sites: Path) -> Iterator[Component]:
    """The distributions installed in `sites`, by their METADATA."""
    for site in sites:
        for file in sorted(site.glob("*.dist-info/METADATA")):
            fields = BytesHeaderParser(policy=compat32).parsebytes(file.read_bytes()[:MAX_METADATA_BYTES])
            name, version = str(fields["Name"]), str(fields["Version"])
            classifiers = [str(line) for line in fields.get_all("Classifier", [])]
            licence = python_expression(
                str(fields.get("License-Expression", "")), str(fields.get("License", "")), classifiers
            )
            yield Component(
                name=name,
                version=version,
                licence=licence,
                purl=f"pkg:pypi/{quote(re.sub(r'[-_.]+', '-', name).lower())}@{quote(version)}",
                note="" if licence != NOT_TOLD else "the metadata names no licence that SPDX knows",
            )


def _identifier(kind: str, component: Component) -> str:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", component.name)
    other = component.purl.partition("arch=")[2].partition("&")[0]
    mark = hashlib.sha256(f"{component.name} {component.version} {other}".encode()).hexdigest()[:8]
    return f"SPDXRef-{kind}-{plain}-{mark}"


def _package(kind: str, component: Component) -> dict[str, Any]:
    package: dict[str, Any] = {
        "SPDXID": _identifier(kind, component),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": NOT_TOLD,
        "filesAnalyzed": False,
        "licenseConcluded": NOT_TOLD,
        "licenseDeclared": component.licence,
        "copyrightText": NOT_TOLD,
    }
    if component.supplier:
        who = re.sub(r"\s*<[^>]*>", "", component.supplier).strip()
        package["supplier"] = f"Organization: {who}"
    if re.match(r"https?://[^\s]+$", component.homepage):
        package["homepage"] = component.homepage
    if component.note:
        package["comment"] = component.note
    if component.purl:
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl"}
        package["externalRefs"] = [{**reference, "referenceLocator": component.purl}]
    return package


def document(
    name: str, version: str, epoch: int, raw_sha256: str, parts: Mapping[str, Iterable[Component]], extracted: Extracted
) -> dict[str, Any]:
    """The document about the image `name`. `parts` are components by kind, as `{"debian": …, "python": …}`."""
    image = Component(name=name, version=version, licence=OUR_LICENCE, note="the licence is Palomar's own part's")
    top = _package("image", image)
    top["primaryPackagePurpose"] = "OPERATING-SYSTEM"
    top["checksums"] = [{"algorithm": "SHA256", "checksumValue": raw_sha256}]
    packages = {}
    for kind, components in parts.items():
        for component in components:
            package = _package(kind, component)
            packages[package["SPDXID"]] = package
    contained = [packages[key] for key in sorted(packages)]
    licences = [
        {"licenseId": key, "name": words, "extractedText": text}
        for key, (words, text) in sorted(extracted.texts.items())
    ]
    body = [top, *contained]
    mark = hashlib.sha256(json.dumps([body, licences], sort_keys=True).encode()).hexdigest()
    relation = {"spdxElementId": top["SPDXID"], "relationshipType": "CONTAINS"}
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:uuid:{uuid.uuid5(NAMESPACE, mark)}",
        "creationInfo": {
            "created": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: palomar-image-{version}"],
        },
        "packages": body,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": top["SPDXID"],
            },
            *({**relation, "relatedSpdxElement": each["SPDXID"]} for each in contained),
        ],
        "hasExtractedLicensingInfos": licences,
    }
