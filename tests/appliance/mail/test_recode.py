"""Transfer encodings changed for hosts that lack 8BITMIME or BINARYMIME; Python's own parser says what they mean."""

from __future__ import annotations

import email
import email.policy
from binascii import b2a_qp
from email.message import Message as StdlibMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import MessageError
from appliance.mail.message import Message
from appliance.mail.recode import MAX_LINE, Target, recoded, signing_domains

ACCENTED = "¡Hola! Que tal el año, José.\r\n".encode()


def leaves(raw: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded octets of every leaf, as Python's parser sees them."""
    found: list[tuple[str, bytes]] = []

    def walk(part: StdlibMessage) -> None:
        if part.is_multipart():
            for inner in part.get_payload():
                walk(inner)  # type: ignore[arg-type]
        else:
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append((part.get_content_type(), payload))

    walk(email.message_from_bytes(raw, policy=email.policy.compat32))
    return found


def part(header: str, body: bytes) -> bytes:
    return header.encode() + (b"\r\n" if header else b"") + b"\r\n" + body


def multipart(parts: list[bytes], *, boundary: str = "b1", subtype: str = "mixed", more: str = "") -> bytes:
    dashes = f"--{boundary}".encode()
    body = b"".join(dashes + b"\r\n" + inner + b"\r\n" for inner in parts) + dashes + b"--\r\n"
    return part(f'Content-Type: multipart/{subtype}; boundary="{boundary}"{more}', body)


def letter(octets: bytes) -> Message:
    return Message.parse(b"From: ana@palomar.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n" + octets)


def converted(octets: bytes, target: Target = "7bit") -> bytes:
    message = letter(octets)
    after = bytes(recoded(message, target))
    assert leaves(after) == leaves(bytes(message))
    if target == "7bit":
        assert after.isascii()
    assert all(len(line) <= MAX_LINE for line in after.split(b"\r\n"))
    return after


def test_what_fits_is_the_same_object() -> None:
    message = letter(part("Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit", b"plain words\r\n"))
    assert recoded(message, "7bit") is message
    assert recoded(letter(part("Content-Type: text/plain", ACCENTED)), "8bit").text == ACCENTED


def test_text_becomes_quoted_printable_in_place() -> None:
    after = converted(
        part("Content-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=utf-8\r\nX-Last: y", ACCENTED)
    )
    assert b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type:" in after
    assert b"=C2=A1Hola! Que tal el a=C3=B1o, Jos=C3=A9.\r\n" in after


@pytest.mark.parametrize("body", [b"\xff\xd8" * 40, ("ж" * 60 + "\r\n").encode(), b"a\xff\r\nb\rc", b"\0\xff"])
def test_what_is_no_western_text_becomes_base64(body: bytes) -> None:
    kind = "image/jpeg" if body.startswith(b"\xff") else "text/plain"
    after = converted(part(f"Content-Type: {kind}\r\nContent-Transfer-Encoding: binary", body))
    assert b"Content-Transfer-Encoding: base64\r\n" in after


def test_parts_that_fit_keep_every_octet_and_containers_say_less() -> None:
    kept = part("Content-Type: application/x-odd;\r\n\tname=a\r\nContent-Transfer-Encoding: 8bit", b"  odd \t\r\n=20")
    inner = multipart([part("Content-Type: text/html; charset=utf-8", ACCENTED), kept], boundary="b2")
    after = converted(multipart([kept, inner], more="\r\nContent-Transfer-Encoding: 8bit"))
    assert after.count(kept) == 2
    assert after.count(b"Content-Transfer-Encoding: 7bit\r\n") == 1
    assert after.count(b"Content-Transfer-Encoding: quoted-printable") == 1


def test_a_message_in_the_message_is_opened() -> None:
    inner = b"From: luis@b.test\r\nSubject: old\r\n\r\n" + ACCENTED  # without MIME fields of its own
    after = converted(
        multipart([part("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit", inner)], subtype="digest")
    )
    assert b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nFrom: luis" in after
    added = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted"
    assert b"Subject: old\r\n" + added in after


def test_a_message_without_mime_fields_gets_them() -> None:
    after = bytes(recoded(Message.parse(b"Subject: x\r\n\r\n" + ACCENTED), "7bit"))
    parsed = email.message_from_bytes(after)
    assert parsed.get_payload(decode=True) == ACCENTED
    assert parsed["MIME-Version"] == "1.0"


def test_text_around_the_parts_makes_no_new_delimiter() -> None:
    raw = part(
        'Content-Type: multipart/mixed; boundary="a?b"', b"--a\xffb\r\n--a?b\r\n\r\nx\r\n--a?b--\r\nend \xff\r\n"
    )
    assert b"--a*b\r\n--a?b\r\n" in converted(raw)


def test_a_broken_line_makes_no_new_delimiter() -> None:
    line = "ñ".encode() + b"x" * 69 + b"--b1\r\n"
    assert b"=\r\n--b1\r\n" in b2a_qp(line)
    after = converted(multipart([part("Content-Type: text/plain; charset=utf-8", line)]))
    assert len(leaves(after)) == 1


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (multipart([part("", ACCENTED), part("", b"sig")], subtype="signed"), "signed part"),
        (part("Content-Type: message/partial; id=1", ACCENTED), "message/partial"),
        (part("Content-Type: multipart/mixed", ACCENTED), "multipart/mixed"),
        (part("Content-Transfer-Encoding: base64", b"\xff"), "base64"),
        (multipart([part('Content-Type: text/plain; name="ñ"', b"x")]), "header of a part"),
        (part("Subject: ñ", b"x"), "header is not ASCII"),
    ],
)
def test_what_cannot_be_converted_says_why(octets: bytes, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        recoded(letter(octets), "7bit")


def test_signed_parts_that_fit_stay_beside_others_that_change() -> None:
    signed = multipart([part("", b"signed words\r\n"), part("", b"sig")], subtype="signed", boundary="s")
    assert signed in converted(multipart([signed, part("Content-Type: text/plain; charset=utf-8", ACCENTED)]))


def test_only_binary_parts_change_for_a_host_with_8bitmime() -> None:
    text = part("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", ACCENTED)
    picture = part("Content-Type: image/png\r\nContent-Transfer-Encoding: binary", b"\x89PNG\r\n\0\r \n\xff" * 200)
    raw = multipart([text, picture], more="\r\nContent-Transfer-Encoding: binary")
    after = bytes(recoded(letter(raw), "8bit"))
    assert leaves(after)[1] == ("image/png", b"\x89PNG\r\n\0\r \n\xff" * 200)
    assert text in after
    assert b"Content-Transfer-Encoding: 8bit\r\n\r\n--b1" in after


def test_domains_that_signed_are_found_for_the_trace() -> None:
    message = Message.parse(b"DKIM-Signature: v=1; bh=d=no;\r\n\td = B.test; s=x\r\nDKIM-Signature: d=a.test\r\n\r\n")
    assert signing_domains(message) == ["a.test", "b.test"]


LINES = st.lists(
    st.sampled_from(
        [b"plain", b"", b".", b"-- ", b"From x", b"tail \t", b"=3D", "ñandú".encode(), b"\xff\xfe", b"y" * 90]
    )
)
TEXTS = LINES.map(b"\r\n".join)
CHARSETS = st.sampled_from(["text/plain; charset=utf-8", "text/html; charset=iso-8859-1", "image/png", "audio/x-y"])


@st.composite
def entities(draw: st.DrawFn, *, binary: bool, depth: int = 3) -> bytes:
    kind = draw(st.sampled_from(["leaf", "multipart", "message"])) if depth else "leaf"
    if kind == "leaf":
        named = draw(CHARSETS)
        # Python's parser reads text as lines: what is binary goes into other types, where it keeps every octet.
        free = binary and not named.startswith("text/")
        body = draw(TEXTS) + (draw(st.sampled_from([b"", b"\0", b"\xff" * 2000])) if free else b"")
        label = "\r\nContent-Transfer-Encoding: binary" if free else draw(st.sampled_from(["", "\r\nX: y"]))
        return part(f"Content-Type: {named}{label}", body)
    if kind == "message":
        return part(
            "Content-Type: message/rfc822", b"Subject: inner\r\n" + draw(entities(binary=binary, depth=depth - 1))
        )
    parts = draw(st.lists(entities(binary=binary, depth=depth - 1), min_size=1, max_size=3))
    return multipart(
        parts, boundary=f"b{depth}", more=draw(st.sampled_from(["", "\r\nContent-Transfer-Encoding: 8bit"]))
    )


@settings(max_examples=200, deadline=None)
@given(entities(binary=False))
def test_every_part_means_the_same_in_seven_bits(octets: bytes) -> None:
    after = converted(octets)
    assert recoded(Message.parse(after), "7bit").text == Message.parse(after).text


@settings(max_examples=100, deadline=None)
@given(entities(binary=True), st.sampled_from(["7bit", "8bit"]))
def test_binary_parts_mean_the_same_for_hosts_that_take_lines_only(octets: bytes, target: Target) -> None:
    converted(octets, target)


def test_long_texts_are_encoded_piece_by_piece() -> None:
    for body in (ACCENTED * 5000, "ñ".encode() + b"z" * 200_000, b"z" * 58367 + b"\r\n\xc3\xb1\r\n"):
        converted(part("Content-Type: text/plain; charset=utf-8", body))


@pytest.mark.parametrize(("octets", "fits"), [(MAX_LINE, True), (MAX_LINE + 1, False)])
def test_a_line_may_be_as_long_as_the_standard_has_it(octets: int, fits: bool) -> None:
    message = letter(part("Content-Type: text/plain", b"x\r\n" + b"z" * octets + b"\r\ny"))
    assert (recoded(message, "7bit") is message) is fits
