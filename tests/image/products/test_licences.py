"""Licence names of Debian and Python, as SPDX expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from license_expression import get_spdx_licensing

from image.products import dep5
from image.products.licences import Extracted, all_of, debian_expression, known, python_expression
from image.products.prose import DIGITS, prose_expression, read_table

SPDX = get_spdx_licensing()

CASES = [
    ("Expat", "MIT"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("GPL-2+ or Artistic-2.0", "GPL-2.0-or-later OR Artistic-2.0"),
    ("MIT and BSD-3-clause and MIT", "MIT AND BSD-3-Clause"),
    ("GPL-2+ or MIT and ISC", "GPL-2.0-or-later OR (MIT AND ISC)"),
    ("GPL-2+ or MIT, and ISC", "(GPL-2.0-or-later OR MIT) AND ISC"),
    ("(GPL-2 or MIT) and Zlib", "(GPL-2.0-only OR MIT) AND Zlib"),
    ("GPL-3+ with Autoconf exception", "GPL-3.0-or-later WITH Autoconf-exception-2.0"),
    ("GPL-2 with their own exception", "LicenseRef-pkg-GPL-2-with-their-own-exception"),
    ("public-domain", "LicenseRef-pkg-public-domain"),
    ("GPL-2 and", "LicenseRef-pkg-GPL-2-and"),
    ("(MIT", "LicenseRef-pkg-MIT"),
]


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_debian_s_short_names(line: str, expected: str) -> None:
    extracted = Extracted()
    assert debian_expression("pkg", line, "the text", extracted) == expected
    assert set(extracted.texts) == ({expected} if expected.startswith("LicenseRef") else set())


WORDS = st.sampled_from(["(", ")", ",", "and", "or", "MIT", "GPL-2+", "with", "x"])


@given(st.text(max_size=80) | st.lists(WORDS).map(" ".join))
def test_every_line_becomes_an_expression_that_others_can_read(line: str) -> None:
    if not line.strip():
        return
    SPDX.parse(debian_expression("pkg", line, "", Extracted()))


def test_every_name_in_the_table_is_one_that_spdx_has() -> None:
    for word in ("mit", "expat", "gpl-2+", "lgpl-2.1", "agpl-3+", "psf", "bsd-3", "boost-1.0", "cc0"):
        name = known(word)
        assert name is not None
        assert SPDX.validate(name).errors == []


@pytest.mark.parametrize(
    ("expression", "licence", "classifiers", "expected"),
    [
        ("MIT OR Apache-2.0", "", [], "MIT OR Apache-2.0"),
        ("My-Own-Words", "MIT", [], "NOASSERTION"),
        ("", "MIT License", [], "MIT"),
        ("", "see LICENSE", ["License :: OSI Approved :: Apache Software License"], "Apache-2.0"),
        ("", "", ["License :: OSI Approved :: BSD License"], "NOASSERTION"),  # which of them?
        ("", "x" * 10_000, [], "NOASSERTION"),
    ],
)
def test_python_s_metadata(expression: str, licence: str, classifiers: list[str], expected: str) -> None:
    assert python_expression(expression, licence, classifiers) == expected


def test_all_of_keeps_alternatives_together() -> None:
    assert all_of(["MIT OR ISC", "Zlib", "Zlib"]) == "(MIT OR ISC) AND Zlib"
    assert all_of([]) == "NOASSERTION"


FILE = b"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: thing

Files: *
Copyright: 2020 Somebody
License: GPL-2+

Files: extra/*
Copyright: 2021 Else
License: own
 You may do
 .
 anything.

License: GPL-2+
 On Debian systems see /usr/share/common-licenses/GPL-2.
"""


def test_a_copyright_file() -> None:
    parsed = dep5.parse(FILE)
    assert parsed is not None
    assert parsed.licences == ["GPL-2+", "own"]
    assert parsed.texts["own"].startswith("You may do")
    assert "common-licenses" in parsed.texts["GPL-2+"]


@pytest.mark.parametrize(
    "data", [b"", b"This package was debianized by hand.\n", b"License: MIT\n", b"x" * (dep5.MAX_BYTES + 1)]
)
def test_prose_and_what_is_past_the_limits_tells_nothing(data: bytes) -> None:
    assert dep5.parse(data) is None


@given(st.binary(max_size=300))
def test_no_file_breaks_the_reader(data: bytes) -> None:
    dep5.parse(b"Format: copyright-format/1.0\n\n" + data)


def test_what_was_read_in_prose_is_an_expression_that_others_can_read() -> None:
    assert read_table()
    for digest, expression in read_table().items():
        assert re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", digest)
        names = [str(name) for name in SPDX.parse(expression).symbols]
        assert [name for name in names if name != "file" and SPDX.validate(name).errors] == []


def test_prose_that_nobody_read_is_told_by_its_whole_text() -> None:
    extracted = Extracted()
    first, again = (prose_expression(b"You may.\n", extracted) for _ in range(2))
    assert first == again
    assert [text for _, text in extracted.texts.values()] == ["You may."]
    SPDX.parse(first)
