"""The shared grammar of SMTP: what it reads, what it refuses, and that it says the same back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import AddressError, ProtocolError
from appliance.mail.address import Address
from appliance.mail.reply import Reply
from appliance.wire.smtp import (
    MAX_REPLY_LINE,
    MAX_REPLY_LINES,
    GrammarError,
    ReplyReader,
    format_orcpt,
    format_path,
    parse_extensions,
    parse_limits,
    parse_orcpt,
    parse_parameters,
    parse_path,
    parse_reply,
    unstuff,
    xtext_decode,
    xtext_encode,
)

# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "address", "rest"),
    [
        ("<ana@palomar.test>", "ana@palomar.test", ""),
        ("<Ana.B@Palomar.TEST>", "Ana.B@palomar.test", ""),
        (" <ana@palomar.test>", "ana@palomar.test", ""),
        ("<ana@palomar.test> SIZE=10 BODY=8BITMIME", "ana@palomar.test", "SIZE=10 BODY=8BITMIME"),
        ("<ana@palomar.test>   SIZE=10", "ana@palomar.test", "SIZE=10"),
        ("<@relay.test:ana@palomar.test>", "ana@palomar.test", ""),
        ("<@a.test,@b.test,@[192.0.2.1]:ana@palomar.test> SIZE=1", "ana@palomar.test", "SIZE=1"),
        ("<@[IPv6:2001:db8::1]:ana@palomar.test>", "ana@palomar.test", ""),
        ("<ana@[192.0.2.1]>", "ana@[192.0.2.1]", ""),
        ("<ana@[IPv6:2001:db8::1]>", "ana@[IPv6:2001:db8::1]", ""),
        ('<"a b"@palomar.test>', '"a b"@palomar.test', ""),
        ('<"a>b@c"@palomar.test> SIZE=1', '"a>b@c"@palomar.test', "SIZE=1"),
        (r'<"a\"b\\"@palomar.test>', r'"a\"b\\"@palomar.test', ""),
        ("<ana%other.test@palomar.test>", "ana%other.test@palomar.test", ""),
        ("<other.test!ana@palomar.test>", "other.test!ana@palomar.test", ""),
        ("<josé@ñandú.test>", "josé@ñandú.test", ""),
    ],
)
def test_path(text: str, address: str, rest: str) -> None:
    found, after = parse_path(text)
    assert (str(found), after) == (address, rest)


def test_null_path() -> None:
    assert parse_path("<> RET=HDRS") == (None, "RET=HDRS")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<",
        ">",
        "ana@palomar.test",
        "<ana@palomar.test",
        "ana@palomar.test>",
        "<ana>",
        "<@>",
        "<@a.test:>",
        "<@a.test>",
        "<@a.test,b.test:ana@palomar.test>",
        "<ana@>",
        "<@palomar.test>",
        "<ana@palomar.test>SIZE=1",
        "<ana@palomar.test><luis@palomar.test>",
        "<<ana@palomar.test>>",
        "<ana@pal omar.test>",
        "<a na@palomar.test>",
        "<ana@@palomar.test>",
        "<ana@palomar..test>",
        "<.ana@palomar.test>",
        "<ana.@palomar.test>",
        '<"ana@palomar.test>',
        '<"ana"palomar.test>',
        '<x"ana"@palomar.test>',
        "<ana\t@palomar.test>",
        "<ana\0@palomar.test>",
        "<ana\r\n@palomar.test>",
        '<"a\nb"@palomar.test>',
        "<ana@[999]>",
        "<ana@-palomar.test>",
        f"<{'a' * 65}@palomar.test>",
        f"<ana@{'a' * 64}.test>",
        f"<@{'a' * 1100}:ana@palomar.test>",
        "<ana@palomar.test\udcff>",
    ],
)
def test_no_path(text: str) -> None:
    with pytest.raises(AddressError):
        parse_path(text)


def test_bare_postmaster_only_where_a_domain_is_given() -> None:
    assert parse_path("<PostMaster>", postmaster_domain="mail.test") == (Address("postmaster", "mail.test"), "")
    with pytest.raises(AddressError):
        parse_path("<postmaster>")
    with pytest.raises(AddressError):
        parse_path("<root>", postmaster_domain="mail.test")


def test_path_takes_linear_time() -> None:
    for text in ("<" + "@a," * 300, '<"' + "\\a" * 500 + "@x>", "<" + '"' * 1000 + ">", " " * 2000 + "<"):
        began = time.process_time()
        with pytest.raises(AddressError):
            parse_path(text)
        assert time.process_time() - began < 0.05


@given(st.text(min_size=1, max_size=40), st.sampled_from(["palomar.test", "[192.0.2.1]", "ñandú.test"]))
def test_what_is_an_address_comes_back(local: str, domain: str) -> None:
    try:
        address, rest = parse_path(f"<{local}@{domain}> X=1")
    except AddressError:
        return
    assert rest == "X=1"
    assert parse_path(format_path(address)) == (address, "")


def test_null_path_is_written_as_such() -> None:
    assert format_path(None) == "<>"


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_parameters() -> None:
    assert parse_parameters("size=10  Body=8BITMIME SMTPUTF8 X-A-1=ü") == {
        "SIZE": "10",
        "BODY": "8BITMIME",
        "SMTPUTF8": "",
        "X-A-1": "ü",
    }


@pytest.mark.parametrize("text", ["SIZE=", "=1", "-A=1", "A=1=2", "SIZE=1 size=2", "A\tB", "A=\x01", "A=b\x7f", "Ä=1"])
def test_bad_parameters(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_parameters(text)


# ── xtext ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [("", ""), ("abc", "abc"), ("a+2Bb+3Dc", "a+b=c"), ("QQ314159", "QQ314159"), ("a+20b", "a b"), ("<>", "<>")],
)
def test_xtext(encoded: str, decoded: str) -> None:
    assert xtext_decode(encoded) == decoded


@pytest.mark.parametrize("text", ["a+", "a+2", "a+2b", "a+zz", "a=b", "a b", "+0A", "+00", "+0D+0A", "+FF", "ü"])
def test_bad_xtext(text: str) -> None:
    with pytest.raises(GrammarError):
        xtext_decode(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_xtext_round_trip(text: str) -> None:
    assert xtext_decode(xtext_encode(text)) == text


@pytest.mark.parametrize("text", ["a\nb", "ü", "\x7f"])
def test_no_xtext_for_what_is_not_printable_ascii(text: str) -> None:
    with pytest.raises(GrammarError):
        xtext_encode(text)


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("rfc822;ana+2Blists@example.com", "rfc822;ana+lists@example.com"),
        ("RFC822;a@b", "rfc822;a@b"),
        ("x400;/C=x/".replace("=", "+3D"), "x400;/C=x/"),
        (r"utf-8;jos\x{E9}@example.com", "utf-8;josé@example.com"),
        ("utf-8;josé@example.com", "utf-8;josé@example.com"),
        (r"UTF-8;\x{1F600}@x", "utf-8;😀@x"),
        (r"utf-8;a\x{2B}b@x", "utf-8;a+b@x"),
        ("rfc822;+C3+B1and+C3+BA@example.com", "utf-8;ñandú@example.com"),  # what Postfix 3.7 sends
    ],
)
def test_orcpt(value: str, decoded: str) -> None:
    assert parse_orcpt(value) == decoded


@pytest.mark.parametrize(
    "value",
    [
        "",
        "rfc822",
        "rfc822;",
        ";a@b",
        "rf c;a@b",
        "rfc822;a=b",
        "rfc822;a+0D+0Ab",
        "rfc822;ü@b",
        "rfc822;+FF@b",
        "rfc822;+0A+C3+B1@b",
        "x400;+C3+B1@b",
        "rfc822;" + "a" * 500,
        r"utf-8;\x{A}",
        r"utf-8;\x{D800}",
        r"utf-8;\x{110000}",
        r"utf-8;\xE9",
        r"utf-8;a\b",
        "utf-8;a+b",
    ],
)
def test_bad_orcpt(value: str) -> None:
    with pytest.raises(GrammarError):
        parse_orcpt(value)


@given(st.text(st.characters(min_codepoint=32, blacklist_categories=("Cc", "Cs")), min_size=1, max_size=40))
def test_orcpt_round_trip(address: str) -> None:
    assert parse_orcpt(format_orcpt(f"utf-8;{address}", smtputf8=True)) == f"utf-8;{address}"
    ascii_form = format_orcpt(f"utf-8;{address}", smtputf8=False)
    assert ascii_form.isascii()
    if len(ascii_form) < 400:
        assert parse_orcpt(ascii_form) == f"utf-8;{address}"


# ── dots ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lines", "plain"),
    [
        (b"", b""),
        (b"a\r\n", b"a\r\n"),
        (b"..\r\n", b".\r\n"),
        (b".a\r\nb\r\n..c\r\n", b"a\r\nb\r\n.c\r\n"),
        (b"a.\r\n...\r\n", b"a.\r\n..\r\n"),
    ],
)
def test_unstuff(lines: bytes, plain: bytes) -> None:
    assert unstuff(lines) == plain


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────


def read(data: bytes, size: int) -> list[Reply]:
    reader = ReplyReader()
    replies = []
    for start in range(0, len(data), size):
        reader.receive(data[start : start + size])
        while (reply := reader.next_reply()) is not None:
            replies.append(reply)
    assert not reader.pending
    return replies


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_replies_however_tcp_cut_them(size: int) -> None:
    wire = (
        b"220 mx.test ESMTP\r\n250-mx.test\r\n250-SIZE 100\r\n250 DSN\r\n550-5.1.1 No\r\n550 5.1.1 such user\r\n354\r\n"
    )
    assert read(wire, size) == [
        Reply(220, "", "mx.test ESMTP"),
        Reply(250, "", "mx.test\nSIZE 100\nDSN"),
        Reply(550, "5.1.1", "No\nsuch user"),
        Reply(354, "", ""),
    ]


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_a_reply_that_is_known_is_the_same_again(size: int) -> None:
    long = b"250 2.0.0 " + b"x" * 100
    wire = b"250 2.1.0 Ok\r\n250-a\r\n250 2.1.0 Ok\r\n250 2.1.0 Ok\r\n%b\r\n%b\r\n" % (long, long)
    known, long_reply = Reply(250, "2.1.0", "Ok"), Reply(250, "2.0.0", "x" * 100)
    assert read(wire, size) == [known, Reply(250, "", "a\n2.1.0 Ok"), known, long_reply, long_reply]
    for _ in range(2):
        with pytest.raises(ProtocolError):
            read(b"no reply\r\n", size)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"250 2.1.5 Ok", Reply(250, "2.1.5", "Ok")),
        (b"250 2.1.5", Reply(250, "2.1.5", "")),
        (b"550 4.2.1 odd", Reply(550, "", "4.2.1 odd")),
        (b"250 2.1.5x", Reply(250, "", "2.1.5x")),
        (b"450 caf\xe9", Reply(450, "", "caf�")),
        (b"450 a\0b\x1b", Reply(450, "", "a?b?")),
    ],
)
def test_reply_line(line: bytes, reply: Reply) -> None:
    assert parse_reply([line]) == reply


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"25 x\r\n",
        b"150 x\r\n",
        b"650 x\r\n",
        b"2500 x\r\n",
        b"250x\r\n",
        b"250-a\r\n251 b\r\n",
        b"250 a\n",
        b"250 a\rb\r\n",
        b"\r\n",
        b"250 " + b"x" * MAX_REPLY_LINE,
        b"250 " + b"x" * MAX_REPLY_LINE + b"\r\n",
        b"250-x\r\n" * (MAX_REPLY_LINES + 1),
    ],
)
@pytest.mark.parametrize("size", [1, 65536])
def test_no_reply(wire: bytes, size: int) -> None:
    with pytest.raises(ProtocolError):
        read(wire, size)


def test_bytes_behind_a_reply_are_seen() -> None:
    reader = ReplyReader()
    reader.receive(b"220 go\r\n250 injected\r\n")
    assert reader.next_reply() == Reply(220, "", "go")
    assert reader.pending


@given(st.binary(max_size=200))
def test_only_protocol_error_escapes_from_replies(data: bytes) -> None:
    reader = ReplyReader()
    reader.receive(data)
    try:
        while reader.next_reply() is not None:
            pass
    except ProtocolError:
        return
    assert b"\n" not in data or data.endswith(b"\n") or data.rindex(b"\n") < len(data)


def test_extensions() -> None:
    reply = parse_reply([b"250-mx.test", b"250-size 100", b"250-AUTH=LOGIN", b"250-AUTH PLAIN LOGIN", b"250 DSN"])
    assert parse_extensions(reply) == {"SIZE": "100", "AUTH": "LOGIN PLAIN LOGIN", "DSN": ""}


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", {}),
        ("MAILMAX=100 rcptmax=20", {"MAILMAX": 100, "RCPTMAX": 20}),
        ("MAILMAX=0 RCPTMAX=1000000 RCPTDOMAINMAX=1", {"RCPTDOMAINMAX": 1}),
        ("MAILMAX=x FUTURE FUTURE2=a=b RCPTMAX=5", {"RCPTMAX": 5}),
        ("MAILMAX=5 =x", {}),
        ("MAILMAX=5;RCPTMAX=2", {}),
    ],
)
def test_limits_of_a_host(text: str, limits: dict[str, int]) -> None:
    assert parse_limits(text) == limits
