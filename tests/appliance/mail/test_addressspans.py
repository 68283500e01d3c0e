"""Where addresses stand in a field: what `address_list` reads there, and nothing that is not plain."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import AddressError
from appliance.mail.address import Address
from appliance.mail.addresslist import address_list, address_spans


def found(value: bytes) -> list[bytes]:
    return [value[start:end] for start, end in address_spans(value)]


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (b" ana@x.test\r\n", [b"ana@x.test"]),
        (b" Ana Garcia <ana@x.test>,\r\n\tluis@y.test (Luis), \"B, C\" <\"b c\"@z.test>\r\n",
         [b"ana@x.test", b"luis@y.test", b'"b c"@z.test']),
        (b" Team: a@x.test, B <b@x.test>;, c@y.test", [b"a@x.test", b"b@x.test", b"c@y.test"]),
        (b" undisclosed-recipients:;", []),
        (b" <@a.test,@b.test:ana@x.test>, b@x.test", [b"@a.test,@b.test:ana@x.test", b"b@x.test"]),
        (b" ana (c)@x.test, a@x.test", [b"a@x.test"]),
        (b" ana @ x.test", []),
        (b" < ana@x.test >", [b"ana@x.test"]),
        (b" <ana@x.test", []),
        (b" \"ana@x.test\" <b@x.test>", [b"b@x.test"]),
        (b" ana@x.test <b@x.test>", [b"b@x.test"]),
        (b" (ana@x.test) b@x.test", [b"b@x.test"]),
        (b" ana@[192.0.2.1]", [b"ana@[192.0.2.1]"]),
        (b" =?utf-8?q?a=40x=2Etest?= <b@x.test>", [b"b@x.test"]),
        (b"", []),
        (b" ,,;;<><", []),
    ],
)  # fmt: skip
def test_what_stands_where(value: bytes, addresses: list[bytes]) -> None:
    assert found(value) == addresses


piece = st.sampled_from(
    [b"ana", b"x.test", b"@", b"<", b">", b",", b";", b":", b"(", b")", b'"', b"\\", b" ", b"\r\n ", b"[", b"]", b".",
     b"a@b.test", b"<c@d.test>", b'"q r"@s.test', b"\xff"]
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(piece, max_size=24).map(b"".join))
def test_every_span_is_an_address_of_the_list(value: bytes) -> None:
    listed = {b"%b@%b" % (one.local or b"", one.domain or b"") for one in address_list(value)}
    position = 0
    for start, end in address_spans(value):
        assert position <= start < end <= len(value)
        position = end
        with contextlib.suppress(AddressError, UnicodeDecodeError):
            address = Address.parse(value[start:end].decode())  # as whoever changes it will ask
            assert f"{address.local}@{address.domain}".encode() in listed
