"""Search domains in DNS wire form: names as they were meant, and nothing that octets of strangers can do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.domainnames import MAX_DOMAINS, MAX_NAME_OCTETS, MAX_POINTERS, domain_names
from hw.lease import joined, lease_of

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63).filter(lambda text: text.strip("-_"))
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join).filter(lambda name: len(name) <= MAX_NAME_OCTETS)


def packed(names: list[str]) -> bytes:
    """A list with pointers wherever an end of a name stands there already (RFC 1035 section 4.1.4)."""
    data, seen = bytearray(), dict[str, int]()
    for name in names:
        rest = name
        while rest and rest not in seen:
            if len(data) < 0x4000:
                seen[rest] = len(data)
            label, _, rest = rest.partition(".")
            data += bytes([len(label)]) + label.encode()
        data += (0xC000 | seen[rest]).to_bytes(2, "big") if rest else b"\0"
    return bytes(data)


def plain(names: list[str]) -> bytes:
    labels = [[bytes([len(label)]) + label.encode() for label in name.split(".")] for name in names]
    return b"".join(b"".join(one) + b"\0" for one in labels)


def pieces(code: int, content: bytes, size: int) -> bytes:
    """One option in instances of `size` octets."""
    cut = [content[place : place + size] for place in range(0, len(content), size)]
    return b"".join(bytes([code, len(piece)]) + piece for piece in cut)


@given(st.lists(NAME, max_size=MAX_POINTERS))
def test_names_come_back_packed_or_plain(names: list[str]) -> None:
    assert list(domain_names(plain(names), pointers=False)) == names
    assert list(domain_names(plain(names), pointers=True)) == names
    assert list(domain_names(packed(names), pointers=True)) == names


@given(st.binary(max_size=600), st.booleans())
def test_no_octets_raise_or_go_round(data: bytes, pointers: bool) -> None:
    for name in domain_names(data, pointers=pointers):
        assert 0 < len(name) <= MAX_NAME_OCTETS
        assert all(0 < len(label) <= 63 for label in name.split("."))
        assert name.isascii()
        assert not any(octet <= 0x20 for octet in name.encode())


@given(st.lists(st.sampled_from([b"\xc0\x00", b"\xc0\x02", b"\xc0\x04", b"\x01a", b"\x00"]), max_size=30).map(b"".join))
def test_no_pointers_raise_or_go_round(data: bytes) -> None:
    assert all(set(name) <= set("a.") for name in domain_names(data, pointers=True))


@pytest.mark.parametrize(
    "broken",
    [
        b"\xc0\x00",  # to itself
        b"\x01a\xc0\x00",  # to its own start
        b"\xc0\x02\x01a\x00",  # forwards
        b"\x01a\xc0",  # half a pointer
        b"\x01a\xc0\x20",  # beyond the end
        b"\x01a",  # without an end
        b"\x05a\x00",  # a label longer than what follows
        b"\x40" + b"a" * 64 + b"\x00",  # no such kind of label
        b"\x01 \x00",
        b"\x01.\x00",
        b"\x01\n\x00",
        b"\x02\xc3\xa9\x00",
    ],
)
def test_a_broken_name_ends_the_list(broken: bytes) -> None:
    good = b"\x04good\x07example\x00"
    assert list(domain_names(broken, pointers=True)) == []
    data = good + (broken if broken[0] < 0xC0 else b"\xc0\x0e")  # pointers count from the list's start
    assert list(domain_names(data + good, pointers=True))[:1] == ["good.example"]


def test_a_pointer_is_none_where_they_are_forbidden() -> None:
    data = packed(["office.example", "lab.office.example"])
    assert list(domain_names(data, pointers=False)) == ["office.example"]


def test_a_chain_of_pointers_has_an_end() -> None:
    for length, found in ((MAX_POINTERS, ["a", "a"]), (MAX_POINTERS + 1, ["a"])):
        chain = b"\x01a\x00" + b"".join((0xC000 | place).to_bytes(2, "big") for place in [0, *range(3, 99, 2)][:length])
        last = len(chain) - 2
        names = list(domain_names(chain + b"\x01b" + (0xC000 | last).to_bytes(2, "big"), pointers=True))
        assert names[: len(found)] == found
        assert ("b.a" in names) is (length < MAX_POINTERS)


def test_names_that_are_too_long_or_empty_are_passed_over() -> None:
    long = ".".join(["a" * 63] * 4)
    assert list(domain_names(plain(["one", long, "two"]) + bytes(9), pointers=True)) == ["one", "two"]


@given(st.lists(NAME, min_size=1, max_size=12), st.integers(1, 255), st.binary(max_size=9))
def test_pieces_of_an_option_are_one(names: list[str], size: int, other: bytes) -> None:
    content = packed(names)
    between = bytes([200, len(other)]) + other
    options = b"\0" + between + pieces(119, content, size) + between + b"\xff" + pieces(119, b"x", 1)
    assert joined(options, 119) == content
    lease = lease_of(
        {"yiaddr": "192.0.2.7", "options": {"domain_search": list(content), "domain_name": "else.example"}}
    )
    assert lease is not None
    assert lease.domains == tuple(dict.fromkeys(names))[:MAX_DOMAINS]


@given(st.binary(max_size=300), st.integers(1, 254))
def test_no_options_raise(options: bytes, code: int) -> None:
    assert len(joined(options, code)) <= len(options)


def test_without_a_list_the_domain_counts() -> None:
    for listed in ([], [0], [1, 2], "text", None):
        options = {"domain_search": listed, "domain_name": "Office.Example."}
        lease = lease_of({"yiaddr": "192.0.2.7", "options": options})
        assert lease is not None
        assert lease.domains == ("office.example",)
