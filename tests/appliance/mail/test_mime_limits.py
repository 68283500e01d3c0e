"""Beyond a limit the rest is one leaf, and no message costs more than its size allows."""

import time

import pytest

from appliance.mail import mime
from appliance.mail.message import Message
from appliance.mail.mime import MAX_DELIMITERS, MAX_DEPTH, MAX_PARTS, MIN_PASSES


def depth_of(message: Message) -> int:
    """Levels of parts below the message, following the first of each."""
    part, depth = message.structure, 0
    while inner := part.message or (part.parts[0] if part.parts else None):
        part, depth = inner, depth + 1
    return depth


def nested_multiparts(levels: int, tail: bytes = b"") -> Message:
    pieces = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels)]
    return Message.parse(b"".join(pieces) + tail)


def nested_messages(levels: int, tail: bytes = b"") -> Message:
    return Message.parse(b"Content-Type: message/rfc822\r\n\r\n" * levels + tail)


@pytest.mark.parametrize("nested", [nested_multiparts, nested_messages])
def test_nesting_up_to_the_limit_is_shown_and_the_rest_is_one_leaf(nested):
    assert depth_of(nested(MAX_DEPTH)) == MAX_DEPTH
    message = nested(MAX_DEPTH + 1)
    assert depth_of(message) == MAX_DEPTH
    leaf = list(message.structure.walk())[-1]
    assert (leaf.type, leaf.subtype) == ("application", "octet-stream")
    assert leaf.end == len(message.text)


@pytest.mark.parametrize("nested", [nested_multiparts, nested_messages])
def test_ten_thousand_levels_neither_recurse_nor_cost_more_than_their_size(nested):
    started = time.process_time()
    message = nested(10_000)
    assert depth_of(message) == MAX_DEPTH
    assert time.process_time() - started < 1


def test_more_parts_than_the_limit_are_left_in_the_last_one():
    header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    text = b"--b\r\n\r\nx\r\n" * (MAX_PARTS + 5) + b"--b--\r\n"
    root = Message(header, text).structure
    assert 1 + len(root.parts) == MAX_PARTS
    assert text[root.parts[-2].body_start : root.parts[-2].end] == b"x"
    assert root.parts[-1].end == len(text)
    exact = Message(header, b"--b\r\n\r\nx\r\n" * (MAX_PARTS - 1) + b"--b--\r\n").structure
    assert 1 + len(exact.parts) == MAX_PARTS
    assert exact.parts[-1].size == 1


def test_all_parts_of_all_levels_count():
    inner = b"Content-Type: multipart/mixed; boundary=c\r\n\r\n" + b"--c\r\n\r\nx\r\n" * 100 + b"--c--\r\n"
    outer = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + (b"--b\r\n" + inner) * 200
    root = Message.parse(outer).structure
    assert sum(1 for _ in root.walk()) == MAX_PARTS
    assert [len(part.parts) for part in root.parts[:3]] == [100, 100, 100]  # the first ones come first
    assert len(root.parts[-1].parts) == 0


def test_lines_that_only_begin_like_a_delimiter_are_counted_too():
    header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    root = Message(header, b"--b\r\n\r\n" + b"\r\n--bx" * (MAX_DELIMITERS + 1) + b"\r\n--b\r\n\r\nunseen").structure
    assert len(root.parts) == 1
    root = Message(header, b"--b\r\n\r\n" + b"\r\n--bx" * (MAX_DELIMITERS - 1) + b"\r\n--b\r\n\r\nseen").structure
    assert len(root.parts) == 2


def test_the_work_of_deep_and_large_messages_is_bounded(monkeypatch):
    monkeypatch.setattr(mime, "MAX_WORK", 0)
    message = nested_multiparts(MAX_DEPTH, b"\r\n" + b"x" * 100_000)
    assert MIN_PASSES - 1 <= depth_of(message) < MAX_DEPTH
    message = nested_messages(MAX_DEPTH, b"\r\n" + b"x" * 100_000)
    assert MIN_PASSES // 2 - 1 <= depth_of(message) < MAX_DEPTH


def test_a_part_header_is_read_up_to_its_limit_only(monkeypatch):
    monkeypatch.setattr(mime, "MAX_PART_HEADER", 100)
    text = b"--b\r\nX: " + b"x" * 200 + b"\r\nContent-Type: image/png\r\n\r\nbody\r\n--b--"
    part = Message(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", text).structure.parts[0]
    assert (part.type, text[part.body_start : part.end]) == ("text", b"body")


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 400_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\r\n--bx" * 400_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 20_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" * 20_000,
        b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"-" * 2_000_000,
        b"Content-Type: multipart/mixed; boundary=\r\r\n\r\n" + b"\r\n--" * 500_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b" + b" \t" * 1_000_000,
    ],
)
@pytest.mark.parametrize("make", [bytes, memoryview])
def test_hostile_structures_cost_linear_time(raw, make):
    started = time.process_time()
    head, _, text = raw.partition(b"\r\n\r\n")
    structure = Message(head + b"\r\n\r\n", make(text)).structure
    assert time.process_time() - started < 1
    assert structure.end == len(text)
