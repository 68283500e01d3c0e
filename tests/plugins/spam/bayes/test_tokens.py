"""What of a message is looked at, what is not, and that hostile octets cost no more than others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.message import Message
from plugins.spam.bayes import protocol_tokens
from plugins.spam.bayes.protocol_tokens import MAX_WORDS, ZONE_BITS, ZONES, is_ignored, tokens_of

PLAIN = b"From: Ana <ana@x.test>\r\nSubject: Hello\r\nContent-Type: text/plain\r\n\r\n"
HTML = PLAIN.replace(b"plain", b"html")


def tokens(raw: bytes) -> set[int]:
    return tokens_of(Message.parse(raw))


def test_words_and_pairs_of_words_are_tokens() -> None:
    one, other = tokens(PLAIN + b"green fields"), tokens(PLAIN + b"fields green")
    assert one != other  # the pair
    assert len(one - other) == len(other - one) == 1
    text = {token for token in one if token & 7 == 2}
    assert text == {token for token in tokens(PLAIN + b"GREEN fields") if token & 7 == 2}


@pytest.mark.parametrize(
    "name",
    ["Received", "Delivered-To", "Return-Path", "X-Spam-Status", "X-Spam-Flag", "Authentication-Results", "X-Keywords",
     "Status", "DKIM-Signature", "ARC-Seal", "X-Bogosity", "X-Rspamd-Score", "X-MailScanner-From", "Delivery-Date"],
)  # fmt: skip
def test_what_servers_and_collectors_add_is_no_token(name: str) -> None:
    assert is_ignored(name.lower().encode())
    assert tokens(f"{name}: by mx.corpus.test\r\n".encode() + PLAIN + b"hello") == tokens(PLAIN + b"hello")


def test_a_list_is_one_token_and_its_footer_none() -> None:
    listed = b"List-Id: <a.x.test>\r\nList-Post: <mailto:a@x.test>\r\nX-Mailman-Version: 2\r\nErrors-To: a@x.test\r\n"
    text = b"how are you"
    footer = b"\r\n" + b"_" * 47 + b"\r\nlist mailing list\r\nhttp://x.test/mailman"
    plain = tokens(PLAIN + text)
    assert len(tokens(listed + PLAIN + text) - plain) == 1
    words = {token for token in tokens(PLAIN + text + footer) if token & 7 == 2}
    assert words == {token for token in plain if token & 7 == 2}


def test_words_split_by_comments_are_whole() -> None:
    text = {token for token in tokens(HTML + b"via<!-- x -->gra") if token & 7 == 2}
    assert text == {token for token in tokens(PLAIN + b"viagra") if token & 7 == 2}


def test_encodings_do_not_hide_words() -> None:
    encoded = PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + b"Z3JlZW4gZmllbGRz"
    zone = {token for token in tokens(encoded) if token & 7 == 2}
    assert zone == {token for token in tokens(PLAIN + b"green fields") if token & 7 == 2}


def test_links_are_looked_at_by_domain() -> None:
    one = tokens(HTML + b'<a href="http://a.shop.test/x">go</a>')
    other = tokens(HTML + b'<a href="http://b.shop.test/y">go</a>')
    links = {token for token in one if token & 7 == 4}
    assert links & other
    assert links - other


def test_scripts_without_spaces_are_words_sign_by_sign() -> None:
    utf8 = PLAIN.replace(b"plain", b"plain; charset=utf-8")
    one, other = tokens(utf8 + "日本語".encode()), tokens(utf8 + "語日本".encode())
    assert len({token for token in one & other if token & 7 == 2}) >= 4  # three signs, and the pair they share


def test_a_long_text_costs_no_more_than_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    long = b" ".join(b"w%d" % number for number in range(8 * MAX_WORDS))
    assert len(tokens(PLAIN + long)) < 3 * MAX_WORDS + 50
    monkeypatch.setattr(protocol_tokens, "MAX_WORDS", 10)
    assert len(tokens(PLAIN + long)) < 3 * 10 + 50


@pytest.mark.parametrize(
    "piece", [b"<", b"<a ", b"a=", b"<!--", b"http://", b"&", b"=?", b"\xe3", b"'-", b"@", b"http://a.", b"<a b=c "]
)
def test_time_is_linear_whatever_is_repeated(piece: bytes) -> None:
    count = (1 << 20) // len(piece)
    assert len(tokens(HTML + piece * count)) < protocol_tokens.MAX_TOKENS


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=400))
def test_any_octets_give_tokens_of_known_zones(header: bytes, text: bytes) -> None:
    made = tokens(b"Subject: " + header + b"\r\nContent-Type: text/html\r\n\r\n" + text)
    assert made == tokens(b"Subject: " + header + b"\r\nContent-Type: text/html\r\n\r\n" + text)
    assert all(0 <= token < 1 << 32 + ZONE_BITS and token & 7 < ZONES for token in made)
