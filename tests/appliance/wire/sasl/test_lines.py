"""SASL messages on base64 lines."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.sasl.errors import SaslAbortedError, SaslError
from appliance.wire.sasl.lines import MAX_LINE, MAX_MESSAGE, decode_line, encode_line


@given(st.binary(max_size=400), st.booleans())
def test_what_is_encoded_decodes_to_the_same(data: bytes, initial: bool) -> None:
    assert decode_line(encode_line(data, initial=initial), initial=initial) == data


@given(st.binary(max_size=60))
def test_a_line_decodes_or_is_refused_with_words(line: bytes) -> None:
    data = None
    with contextlib.suppress(SaslError):
        data = decode_line(line)
    if data is not None:
        assert encode_line(data).rstrip(b"=")[:-1] == line.rstrip(b"=")[:-1]  # the last one may hold unused bits


@pytest.mark.parametrize("line", [b"a", b"ab", b"abc", b"ab=", b"ab==cd==", b"ab c", b"abcd\r", b"=", b"====", b"-_-_"])
def test_bad_base64_is_refused(line: bytes) -> None:
    with pytest.raises(SaslError, match="base64"):
        decode_line(line)


def test_a_star_aborts() -> None:
    with pytest.raises(SaslAbortedError):
        decode_line(b"*")


def test_an_equals_sign_is_an_empty_initial_response_only() -> None:
    assert decode_line(b"=", initial=True) == b""
    with pytest.raises(SaslError):
        decode_line(b"=")


def test_the_limit_is_on_decoded_octets() -> None:
    assert len(decode_line(encode_line(b"x" * MAX_MESSAGE))) == MAX_MESSAGE
    assert len(encode_line(b"x" * MAX_MESSAGE)) == MAX_LINE
    for size in (MAX_MESSAGE + 1, MAX_MESSAGE + 2, MAX_MESSAGE * 2):
        with pytest.raises(SaslError, match="too long"):
            decode_line(encode_line(b"x" * size))
