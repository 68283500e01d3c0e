"""The MIME scanner: which octets are which part, in whole and in broken messages."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.mail.mime import Part
from tests.appliance.mail.mime_trees import Tree, trees


def kinds(part: Part):
    """The tree as nested lists of types."""
    name = f"{part.type}/{part.subtype}"
    if part.message is not None:
        return [name, kinds(part.message)]
    return [name, *map(kinds, part.parts)] if part.parts else name


def assert_same(part: Part, tree: Tree, text: bytes, *, root: bool = False) -> None:
    assert f"{part.type}/{part.subtype}" == tree.kind
    if root:
        assert (part.header_start, part.body_start, part.end) == (0, 0, len(text))
    else:
        assert text[part.header_start : part.body_start] == tree.header
    assert text[part.body_start : part.end] == tree.body
    assert len(part.parts) == len(tree.parts)
    if part.type in ("text", "message"):
        assert part.lines == tree.body.count(b"\n")
    for child, known in zip(part.parts, tree.parts, strict=True):
        assert_same(child, known, text)
    assert (part.message is None) == (tree.message is None)
    if part.message is not None and tree.message is not None:
        assert_same(part.message, tree.message, text)


@given(trees())
def test_every_part_of_a_tree_is_found_to_the_octet(tree):
    parsed = Message.parse(tree.octets)
    assert parsed.header == tree.header
    assert_same(parsed.structure, tree, bytes(parsed.text), root=True)


@given(trees())
def test_a_mapping_is_scanned_like_bytes(tree):
    parsed = Message.parse(tree.octets)
    assert Message(parsed.header, memoryview(bytes(parsed.text))).structure == parsed.structure


@given(trees())
def test_types_agree_with_the_standard_library(tree):
    def oracle(part):
        inner = part.get_payload()
        return [part.get_content_type(), *map(oracle, inner)] if part.is_multipart() else part.get_content_type()

    assert kinds(Message.parse(tree.octets).structure) == oracle(email.message_from_bytes(tree.octets))


@given(trees(), st.data())
def test_a_damaged_tree_keeps_its_octets_in_order(tree, data):
    octets = bytearray(tree.octets)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets)))
        octets[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"\r\n", b"\n", b"--", b"\0", b":"])
        )
    assert_in_order(Message.parse(bytes(octets)))


@given(
    st.lists(
        st.sampled_from([b"--b", b"--", b"\r\n", b" ", b"a: b", b"\r", b"\n", b"Content-Type: message/rfc822"])
    ).map(b"".join)
)
def test_any_octets_have_a_tree(text):
    assert_in_order(Message(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", text))


def assert_in_order(message: Message) -> None:
    root = message.structure
    assert (root.header_start, root.body_start, root.end) == (0, 0, len(message.text))
    for part in root.walk():
        assert part.header_start <= part.body_start <= part.end
        end = part.body_start
        for child in part.parts:
            assert end <= child.header_start
            assert child.end <= part.end
            end = child.end
        if part.message is not None:
            assert (part.message.header_start, part.message.end) == (part.body_start, part.end)


def structure(header: bytes, *lines: bytes) -> Part:
    return Message(header + b"\r\n\r\n", b"\r\n".join(lines)).structure


MIXED = b"Content-Type: multipart/mixed; boundary=b"


@pytest.mark.parametrize(
    ("header", "lines", "shape"),
    [
        (b"", [b"text"], "text/plain"),
        (b"Content-Type: text", [b"x"], "text/plain"),
        (b"Content-Type: multipart/mixed", [b"--b", b"", b"x", b"--b--"], "text/plain"),
        (b'Content-Type: multipart/mixed; boundary=""', [b"--", b"", b"x"], "text/plain"),
        (b"Content-Type: multipart/mixed; boundary=" + b"b" * 3000, [b"--" + b"b" * 3000, b"", b"x"], "text/plain"),
        (MIXED, [b"no delimiter"], "text/plain"),
        (MIXED, [b"--b--"], "text/plain"),
        (MIXED, [b"--b"], ["multipart/mixed", "text/plain"]),
        (MIXED, [b"--b", b""], ["multipart/mixed", "text/plain"]),
        (MIXED, [b"--b", b"--b", b"--b--"], ["multipart/mixed", "text/plain", "text/plain"]),
        (MIXED, [b"--b", b"Content-Type: image/png", b"--b--"], ["multipart/mixed", "image/png"]),
        (MIXED, [b"--bc", b"", b"x"], "text/plain"),
        (MIXED, [b" --b", b"", b"x"], "text/plain"),
        (MIXED, [b"--b--", b"--b", b"", b"x"], "text/plain"),
        (MIXED, [b"--b", b"", b"x", b"--b-- ", b"--b", b"", b"y"], ["multipart/mixed", "text/plain"]),
        (MIXED + b"\r\n" + b"Content-Type: text/html", [b"--b", b"", b"x"], ["multipart/mixed", "text/plain"]),
        (MIXED + b"\r\nContent-Transfer-Encoding: base64", [b"--b", b"", b"x"], ["multipart/mixed", "text/plain"]),
        (
            b"Content-Type: multipart/digest; boundary=b",
            [b"--b", b"", b"To: x", b"", b"y"],
            ["multipart/digest", ["message/rfc822", "text/plain"]],
        ),
        (
            b"Content-Type: multipart/digest; boundary=b",
            [b"--b", b"Content-Type: text/html", b"", b"y"],
            ["multipart/digest", "text/html"],
        ),
        (
            b"Content-Type: multipart/digest; boundary=b",
            [b"--b", b"Content-Type: broken", b"", b"y"],
            ["multipart/digest", "text/plain"],
        ),
        (b"Content-Type: message/rfc822", [b"To: x", b"", b"y"], ["message/rfc822", "text/plain"]),
        (b"Content-Type: message/global", [b"To: x", b"", b"y"], ["message/global", "text/plain"]),
        (b"Content-Type: message/rfc822", [], ["message/rfc822", "text/plain"]),
        (b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64", [b"VG8="], "application/octet-stream"),
        (b"Content-Type: message/partial; id=a; number=1", [b"x"], "message/partial"),
        (b"Content-Type: message/delivery-status", [b"x"], "message/delivery-status"),
    ],
)
def test_shapes(header, lines, shape):
    assert kinds(structure(header, *lines)) == shape


def test_the_outer_boundary_ends_an_inner_part_that_was_never_closed():
    inner = [b"--b", b"Content-Type: multipart/mixed; boundary=c", b"", b"--c", b"", b"x"]
    assert kinds(structure(MIXED, *inner, b"--b", b"", b"y", b"--b--")) == [
        "multipart/mixed",
        ["multipart/mixed", "text/plain"],
        "text/plain",
    ]


def test_an_inner_boundary_that_is_the_outer_one_belongs_to_the_outer_part():
    inner = [b"--b", b"Content-Type: multipart/mixed; boundary=b", b"", b"--b", b"", b"x", b"--b--"]
    assert kinds(structure(MIXED, *inner)) == ["multipart/mixed", "text/plain", "text/plain"]


def test_a_part_without_any_octets_ends_where_it_starts():
    text = b"--b\r\n\r\n--b--"
    part = Message(MIXED + b"\r\n\r\n", text).structure.parts[0]
    assert (part.header_start, part.body_start, part.end) == (5, 5, 5)


def test_all_that_a_part_says_about_itself():
    part = structure(
        b'Content-Type: application/PDF; name="a.pdf"\r\n'
        b"Content-Transfer-Encoding:  BASE64 (really)\r\n"
        b"Content-ID: <id@x>\r\n"
        b"Content-Description: a\r\n report\r\n"
        b"Content-MD5: Q2hlY2s=\r\n"
        b"Content-Disposition: Attachment; filename*=utf-8''%c3%a9.pdf\r\n"
        b"Content-Language: en, de ,\r\n"
        b"Content-Location: http://x/\r\n"
        b"Content-ID: <second@x>"
    )
    assert (part.type, part.subtype, part.params) == ("application", "pdf", (("name", "a.pdf"),))
    assert (part.encoding, part.id, part.description, part.md5) == ("base64", "<id@x>", "a report", "Q2hlY2s=")
    assert part.disposition == ("attachment", (("filename*", "utf-8''%c3%a9.pdf"),))
    assert (part.language, part.location) == (("en", "de"), "http://x/")


def test_what_holds_when_nothing_is_said():
    part = structure(b"")
    assert (part.params, part.encoding, part.id, part.disposition) == ((("charset", "us-ascii"),), "7bit", None, None)
    assert structure(b"Content-Type: text/plain").params == ()


def test_an_inner_message_keeps_the_lines_of_its_envelope():
    inner = [b"Received: from x", b"Subject: a", b"\tb", b"X-Spam: no", b"To: y", b"", b"text"]
    part = structure(b"Content-Type: message/rfc822", *inner)
    assert part.message is not None
    assert part.message.envelope_fields == b"Subject: a\r\n\tb\r\nTo: y\r\n"


def test_parts_with_the_same_header_are_apart():
    header = b"Content-Type: multipart/mixed; boundary=in\r\n\r\n"
    whole, broken = header + b"--in\r\n\r\na\r\n--in--", header + b"no part begins here"
    text = b"--out\r\n" + broken + b"\r\n--out\r\n" + whole + b"\r\n--out\r\n" + broken + b"\r\n--out--\r\n"
    parts = Message(b"Content-Type: multipart/mixed; boundary=out\r\n\r\n", text).structure.parts
    assert [kinds(part) for part in parts] == ["text/plain", ["multipart/mixed", "text/plain"], "text/plain"]
    assert [text[part.header_start : part.end] for part in parts] == [broken, whole, broken]
