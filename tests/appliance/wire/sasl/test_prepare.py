"""Names and passwords in one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.sasl.prepare import MAX_LOGIN, MAX_PASSWORD, prepare_login, prepare_password, saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [  # RFC 4013 section 3, and our choices
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("pass word", "pass word"),
        ("pass\u00a0word", "pass word"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("🕊\u0041", "🕊A"),  # newer than Unicode 3.2: let through as it is
    ],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    "text", ["\u0007", "a\x00b", "a\x7f", "\u06271", "\u0627a\u0628", "\ue000", "\ufffd", "\u200e", chr(0xD800)]
)
def test_saslprep_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"character|directions"):
        saslprep(text)


@given(st.text(max_size=30))
def test_preparing_twice_changes_nothing(text: str) -> None:
    try:
        once = prepare_login(text)
    except ValueError:
        return
    assert prepare_login(once) == once


def test_login_names_are_lower_case_nfc() -> None:
    assert prepare_login("Ana+Phone@Palomar.TEST") == "ana+phone@palomar.test"
    assert prepare_login("ÁNA\u0301@x.test") == "ána\u0301@x.test".replace("a\u0301", "á")


def test_empty_and_over_long_are_refused() -> None:
    for prepare, limit in ((prepare_login, MAX_LOGIN), (prepare_password, MAX_PASSWORD)):
        assert prepare("x" * limit) == "x" * limit
        for text in ("", "\u00ad", "x" * (limit + 1), "é" * (limit // 2 + 1)):
            with pytest.raises(ValueError, match=r"empty|longer"):
                prepare(text)
