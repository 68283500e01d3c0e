"""RAR, 7z and OLE2 directories as they should be, broken in any way, and as Debian's 7-Zip makes them."""

from __future__ import annotations

import contextlib
import lzma
import struct
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.spam.attachments.protocol_archive import MAX_ENTRIES, ArchiveError, Listing, list_zip
from plugins.spam.attachments.protocol_ole import has_macros, is_encrypted, ole_names
from plugins.spam.attachments.protocol_rar import list_rar
from plugins.spam.attachments.protocol_sevenzip import MAX_DIRECTORY, list_7z
from tests.e2e import programs
from tests.plugins.spam.attachments.packed import ole, rar4, rar5
from tests.plugins.spam.attachments.test_policy import zipped

NAMES = ("a.txt", "folder/run.js", "ü ñ 表.pdf")


@pytest.mark.parametrize("make", [rar4, rar5])
def test_names_in_rar(make: Callable[..., bytes]) -> None:
    assert list_rar(make(*NAMES)) == Listing(NAMES, False, 21, 18)
    assert list_rar(make("a", encrypted=True)) == Listing(("a",), True, 7, 6)
    assert list_rar(make(hidden=True)) == Listing((), True, 0, 0, hidden=True)
    assert list_rar(make("a", size=1 << 30)).is_bomb


@pytest.mark.parametrize("make", [rar4, rar5])
def test_rar_that_is_cut_off_shows_what_came_before(make: Callable[..., bytes]) -> None:
    whole = make("a.exe", "b.txt")
    assert list_rar(whole[:-30]).names[0] == "a.exe"
    for end in range(8, len(whole)):
        with contextlib.suppress(ArchiveError):
            assert set(list_rar(whole[:end]).names) <= {"a.exe", "b.txt"}
    with pytest.raises(ArchiveError):
        list_rar(whole[:12])


@pytest.mark.parametrize("make", [rar4, rar5])
def test_rar_with_too_many(make: Callable[..., bytes]) -> None:
    with pytest.raises(ArchiveError, match="more than"):
        list_rar(make(*["a"] * (MAX_ENTRIES + 1)))


def test_a_name_of_rar_4_in_all_its_packed_forms() -> None:
    plain = b"ab?????.exe"
    # Two letters of the plain name, one octet, one with the high octet, both octets; two of the plain name, moved by 1.
    packed = b"\x30" + bytes((0b11_00_01_10,)) + b"\0cBB\x30" + bytes((0b11_00_00_00,)) + b"\x80\x01"
    head = struct.pack("<IIBIIBBHI", 0, 0, 2, 0, 0, 29, 0x33, len(plain) + 1 + len(packed), 0x20)
    head += plain + b"\0" + packed
    made = rar4()[:20] + struct.pack("<HBHH", 0, 0x74, 0x8200, 7 + len(head)) + head
    assert list_rar(made).names == ("abc\u3042\u3042\u3040\u3040",)


def sevenzip(directory: bytes, size: int = -1) -> bytes:
    head = b"7z\xbc\xaf\x27\x1c\0\4" + b"crc!"
    return head + struct.pack("<QQI", 0, len(directory) if size < 0 else size, 0) + directory


def packed_directory(size: int, content: bytes, dictionary: int = 1 << 16) -> bytes:
    """A directory that lies packed behind itself."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "mode": lzma.MODE_FAST, "nice_len": 273, "depth": 1}]
    data = lzma.compress(content, lzma.FORMAT_RAW, filters=filters)

    def number(value: int) -> bytes:
        return b"\xff" + struct.pack("<Q", value)

    def about(place: int) -> bytes:
        coder = b"\x23\x03\x01\x01\x05\x5d" + struct.pack("<I", dictionary)
        streams = b"\x06" + number(place) + b"\x01\x09" + number(len(data)) + b"\0"
        return b"\x17" + streams + b"\x07\x0b\x01\0\x01" + coder + b"\x0c" + number(size) + b"\0\0"

    return sevenzip(about(len(about(0))) + data, len(about(0)))


DIRECTORY = b"\x01\x05\x02\x11\x0d\0" + "a\0bc\0".encode("utf-16-le")[:12] + b"\0\0"


def test_a_directory_of_7z_plain_and_packed() -> None:
    names = "a\0bc\0".encode("utf-16-le")
    directory = b"\x01\x05\x02\x11" + bytes((len(names) + 1,)) + b"\0" + names + b"\0\0"
    assert list_7z(sevenzip(directory)).names == ("a", "bc")
    assert list_7z(packed_directory(len(directory), directory)).names == ("a", "bc")
    assert list_7z(sevenzip(b"")).names == ()


def test_bombs_of_7z_take_no_memory() -> None:
    bombs = [
        packed_directory(1 << 40, b"\0" * 1000),
        packed_directory(MAX_DIRECTORY, b"\0" * (1 << 20), 0xFFFFFFFF),
        packed_directory(100, b"\0" * (4 * MAX_DIRECTORY)),
        sevenzip(b"\x01", 1 << 60),
        sevenzip(b"\x01\x05\xff" + b"\xff" * 8),
        sevenzip(b"\x01\x04\x06\0\xff" + b"\xff" * 8),
        sevenzip(b"\x01" + b"\x03\0" * 10_000),
    ]
    tracemalloc.start()
    start = time.process_time()
    for bomb in bombs:
        with contextlib.suppress(ArchiveError):
            assert list_7z(bomb).names == ()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * MAX_DIRECTORY
    assert time.process_time() - start < 5


def test_names_of_an_old_document() -> None:
    names = ole_names(ole("WordDocument", "Macros", "VBA"))
    assert names == ["Root Entry", "WordDocument", "Macros", "VBA"]
    assert has_macros(names)
    assert not has_macros(ole_names(ole("WordDocument")))
    assert is_encrypted(ole_names(ole("EncryptionInfo", "EncryptedPackage")))
    many = [f"stream {number}" for number in range(30)]
    assert ole_names(ole(*many, directory_sectors=8)) == ["Root Entry", *many]


def test_an_old_document_whose_sectors_go_in_a_circle() -> None:
    data = bytearray(ole("a", directory_sectors=2))
    data[512 + 8 : 512 + 12] = struct.pack("<I", 1)  # the second sector of the directory leads to the first
    data[68:72] = struct.pack("<I", 0)  # and the table goes on in itself
    start = time.process_time()
    assert ole_names(bytes(data)) == ["Root Entry", "a"]
    assert time.process_time() - start < 1


def test_a_zip_whose_count_lies() -> None:
    data = bytearray(zipped("a.txt", "run.js"))
    at = data.rfind(b"PK\x05\x06")
    data[at + 8 : at + 12] = b"\0\0\0\0"
    assert list_zip(bytes(data)).names == ("a.txt", "run.js")


WHOLE = {list_rar: rar5(*NAMES), ole_names: ole("Macros"), list_7z: packed_directory(40, b"\x01\x05\x02" + b"\0" * 37)}
READERS = [list_rar, ole_names, list_7z]
STARTS = [rar4(*NAMES), rar5(*NAMES), ole("Macros", directory_sectors=3), WHOLE[list_7z], sevenzip(DIRECTORY)]


@given(st.sampled_from(STARTS), st.integers(0, 700), st.binary(max_size=10), st.binary(max_size=60))
def test_any_octets_are_listed_or_refused(start: bytes, place: int, change: bytes, noise: bytes) -> None:
    for octets in (start[:place] + change + start[place + len(change) :], start[:place] + noise, start[:8] + noise):
        for reader in READERS:
            with contextlib.suppress(ArchiveError):
                assert reader(octets) is not None


@pytest.mark.programs("7zz")
def test_what_7_zip_makes(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for name in ("a.txt", "run.js", "ü ñ.txt"):
        (folder / name).write_text("text of a file\n" * 100)
    names = {"d", "d/a.txt", "d/run.js", "d/ü ñ.txt"}

    def made(*options: str, kind: str = "7z") -> bytes:
        file = tmp_path / f"{abs(hash(options))}.{kind}"
        subprocess.run(
            [programs.find("7zz"), "a", *options, str(file), "d"], cwd=tmp_path, check=True, capture_output=True
        )
        return file.read_bytes()

    for options in (
        (),
        ("-mhc=off",),
        ("-ms=off",),
        ("-m0=PPMd",),
        ("-m0=BCJ2", "-m1=LZMA2"),
        ("-m0=Copy",),
        ("-mx=9",),
    ):
        listing = list_7z(made(*options))
        assert (set(listing.names), listing.encrypted, listing.size) == (names, False, 4500), options
    encrypted = list_7z(made("-psecret"))
    assert (set(encrypted.names), encrypted.encrypted, encrypted.hidden) == (names, True, False)
    hidden = list_7z(made("-psecret", "-mhe=on"))
    assert (hidden.names, hidden.encrypted, hidden.hidden) == ((), True, True)
    for options in (("-psecret",), ("-psecret", "-mem=AES256")):
        listing = list_zip(made(*options, kind="zip"))
        assert ({name.rstrip("/") for name in listing.names}, listing.encrypted) == (names, True)
