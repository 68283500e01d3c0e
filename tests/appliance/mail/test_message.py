"""Message: where header and text part, and the octets of every IMAP section."""

import mmap
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MessageError
from appliance.mail.message import MAX_HEADER, Message, with_crlf

NESTED = b"""Subject: outer\r
Content-Type: multipart/mixed; boundary=b\r
\r
preamble\r
--b\r
Content-Type: text/html\r
\r
one\r
--b\r
Content-Type: message/rfc822\r
X-Two: yes\r
\r
Subject: inner\r
Content-Type: multipart/mixed; boundary=c\r
\r
--c\r
\r
two-one\r
--c\r
Content-Type: message/rfc822\r
\r
Subject: deepest\r
\r
two-two-one\r
--c--\r
--b\r
Content-Type: multipart/mixed; boundary=d\r
\r
--d\r
Content-Type: image/png\r
\r
three-one\r
--d--\r
--b--\r
"""
THIRD = NESTED.index(b"\r\n--b\r\nContent-Type: multipart/mixed; boundary=d")


@pytest.mark.parametrize(
    ("raw", "header", "text"),
    [
        (b"A: b\r\n\r\nc", b"A: b\r\n\r\n", b"c"),
        (b"A: b\r\n\r\n\r\n\r\nc", b"A: b\r\n\r\n", b"\r\n\r\nc"),
        (b"\r\nc", b"\r\n", b"c"),
        (b"\r\n\r\nc", b"\r\n", b"\r\nc"),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"A: b", b"A: b", b""),
        (b"", b"", b""),
        (b"\r", b"\r", b""),
        (b"A: b\n\nc\r\n\r\nd", b"A: b\n\nc\r\n\r\n", b"d"),  # only CRLF ends a line: nothing is guessed
    ],
)
def test_where_the_header_ends(raw, header, text):
    for buffer in (raw, memoryview(raw)):
        message = Message.parse(buffer)
        assert (message.header, bytes(message.text), bytes(message)) == (header, text, raw)
        assert message.size == len(raw)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
def test_a_header_over_the_limit_is_refused(end):
    most = b"A" * (MAX_HEADER - len(end)) + end
    assert Message.parse(most + b"text" * bool(end)).header == most
    with pytest.raises(MessageError, match="header"):
        Message.parse(b"A" + most)


def test_a_mapping_is_not_copied():
    with tempfile.TemporaryFile() as file:
        file.write(b"A: b\r\n\r\n" + b"x" * 400_000)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        message = Message.parse(mapped)
        assert isinstance(message.text, memoryview)
        assert message.size == 400_008
        assert b"".join(message.chunks(1000)) == mapped[:]
        message.text.release()
        mapped.close()


@given(st.binary(max_size=50), st.integers(1, 20))
def test_chunks_are_the_message(raw, size):
    message = Message.parse(raw)
    assert b"".join(message.chunks(size)) == raw
    assert all(len(chunk) <= max(size, len(message.header)) for chunk in message.chunks(size))


def test_fields_are_found_by_name():
    message = Message.parse(b"To: a\r\nSubject: x\r\n y\r\nTO: b\r\n\r\nTo: c")
    assert message.get(b"subject") == b"x\r\n y"
    assert message.get(b"from") is None
    assert message.get_all(b"to") == [b"a", b"b"]
    assert message.fields() is message.fields()


def test_prepended_lines_come_first_and_the_structure_stays():
    message = Message.parse(NESTED)
    structure = message.structure
    longer = message.prepend(b"Received: x\r\n\ty\r\n")
    assert bytes(longer) == b"Received: x\r\n\ty\r\n" + NESTED
    assert longer.structure is structure
    assert longer.fields()[0].name == b"received"
    assert message.fields()[0].name == b"subject"
    assert message.prepend(b"").header == message.header


@pytest.mark.parametrize("lines", [b"Received: x", b"\r\n", b"A: b\r\n\r\n", b"A: b\r\n\r\nC: d\r\n"])
def test_what_cannot_stand_in_front_of_a_message(lines):
    with pytest.raises(ValueError, match="header lines"):
        Message.parse(NESTED).prepend(lines)


def test_fields_are_taken_out_whole():
    message = Message.parse(b"Bcc: a,\r\n b\r\nTo: c\r\nnot a field\r\nBCC: d\r\nCc: e\r\n\r\ntext")
    assert bytes(message.without({b"bcc"})) == b"To: c\r\nnot a field\r\nCc: e\r\n\r\ntext"
    assert message.without({b"sender"}) is message


@pytest.mark.parametrize(
    ("path", "what", "octets"),
    [
        ((), "", NESTED),
        ((), "HEADER", NESTED[: NESTED.index(b"preamble")]),
        ((), "TEXT", NESTED[NESTED.index(b"preamble") :]),
        ((1,), "", b"one"),
        ((1,), "MIME", b"Content-Type: text/html\r\n\r\n"),
        ((1,), "HEADER", None),
        ((1,), "TEXT", None),
        ((1, 1), "", None),
        ((2,), "MIME", b"Content-Type: message/rfc822\r\nX-Two: yes\r\n\r\n"),
        ((2,), "", NESTED[NESTED.index(b"Subject: inner") : THIRD]),
        ((2,), "HEADER", b"Subject: inner\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"),
        ((2,), "TEXT", NESTED[NESTED.index(b"--c\r\n\r\ntwo") : THIRD]),
        ((2, 1), "", b"two-one"),
        ((2, 1), "MIME", b"\r\n"),
        ((2, 1), "TEXT", None),
        ((2, 2), "", b"Subject: deepest\r\n\r\ntwo-two-one"),
        ((2, 2), "HEADER", b"Subject: deepest\r\n\r\n"),
        ((2, 2), "TEXT", b"two-two-one"),
        ((2, 2, 1), "", b"two-two-one"),
        ((2, 2, 1), "MIME", b"Subject: deepest\r\n\r\n"),
        ((2, 2, 1, 1), "", None),
        ((2, 2, 2), "", None),
        ((3,), "", b"--d\r\nContent-Type: image/png\r\n\r\nthree-one\r\n--d--"),
        ((3,), "HEADER", None),
        ((3, 1), "", b"three-one"),
        ((3, 2), "", None),
        ((0,), "", None),
        ((4,), "MIME", None),
    ],
)
def test_sections_are_exact_to_the_octet(path, what, octets):
    assert Message.parse(NESTED).section(path, what) == octets


def test_sections_of_a_single_part():
    message = Message.parse(b"Subject: x\r\n\r\ntext")
    assert message.section((1,)) == b"text"
    assert message.section((1,), "MIME") == b"Subject: x\r\n\r\n"
    assert message.section((1,), "HEADER") is None
    assert message.section((1, 1)) is None
    assert message.section((2,)) is None


def test_sections_of_a_message_that_is_a_message():
    message = Message.parse(b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext")
    assert message.section((1,)) == b"Subject: inner\r\n\r\ntext"
    assert message.section((1,), "HEADER") == b"Subject: inner\r\n\r\n"
    assert message.section((1, 1)) == b"text"
    assert message.section((1, 1), "MIME") == b"Subject: inner\r\n\r\n"
    assert message.section((1, 1, 1)) is None


def test_repr_shows_no_content():
    assert repr(Message.parse(b"A: b\r\n\r\nsecret")) == "<Message of 14 octets>"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\n", b"a\r\nb\r\n"),
        (b"a\rb", b"a\r\nb"),
        (b"\r\n", b"\r\n"),
        (b"\r\r\n\n", b"\r\n\r\n\r\n"),
    ],
)
def test_with_crlf(raw, clean):
    assert with_crlf(raw) == clean
    assert with_crlf(clean) is clean
