"""Packed files of others: unpacked up to a limit, or refused in words."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.packed import PackedError, gunzip, unzip_one

TEXT = b"a report, a report, a report\n" * 40


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


PACKED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "deflated": zipped(("a.xml", TEXT)),
    "stored": zipped(("a.xml", TEXT), method=zipfile.ZIP_STORED),
    "in a folder": zipped(("a/", b""), ("a/b.xml", TEXT)),
}


def unpack(name: str, data: bytes, limit: int) -> bytes:
    return gunzip(data, limit) if name == "gzip" else unzip_one(data, limit)


@pytest.mark.parametrize("name", PACKED)
def test_what_is_small_enough_comes_out(name: str) -> None:
    assert unpack(name, PACKED[name], len(TEXT)) == TEXT
    with pytest.raises(PackedError, match="more than 10 octets"):
        unpack(name, PACKED[name], 10)


@pytest.mark.parametrize("name", ["two", "none", "encrypted", "lzma", "cut"])
def test_archives_that_are_not_one_plain_file(name: str) -> None:
    one = PACKED["deflated"]
    at = one.rindex(b"PK\x01\x02") + 8
    data = {
        "two": zipped(("a", TEXT), ("b", TEXT)),
        "none": zipped(),
        "encrypted": one[:at] + b"\x01" + one[at + 1 :],
        "lzma": zipped(("a", TEXT), method=zipfile.ZIP_LZMA),
        "cut": one[:-30],
    }[name]
    with pytest.raises(PackedError, match=r"plain file|cannot be unpacked"):
        unzip_one(data, 1 << 20)


@settings(max_examples=300)
@given(st.sampled_from(sorted(PACKED)), st.integers(0, 400), st.binary(max_size=6))
def test_any_change_is_unpacked_or_refused(name: str, at: int, octets: bytes) -> None:
    data = PACKED[name]
    at %= len(data)
    try:
        plain = unpack(name, data[:at] + octets + data[at + len(octets) :], len(TEXT))
    except PackedError:
        return
    assert len(plain) <= len(TEXT)
