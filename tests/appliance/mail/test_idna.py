from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import AddressError
from appliance.mail.idna import to_ascii, to_unicode

PAIRS = [
    ("palomar.test", "palomar.test"),
    ("münchen.de", "xn--mnchen-3ya.de"),
    ("straße.de", "xn--strae-oqa.de"),
    ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ("a.ñandú.es", "a.xn--and-6ma2c.es"),
]


@pytest.mark.parametrize(("text", "ascii_form"), PAIRS)
def test_domains_in_both_forms(text: str, ascii_form: str) -> None:
    assert to_ascii(text) == ascii_form
    assert to_unicode(ascii_form) == text


@pytest.mark.parametrize("label", ["xn--", "xn--a", "xn--\x80", "xn--mnchen-3ya9999999999", "XN--ABC-"])
def test_a_label_that_is_not_sound_stays_as_it_is(label: str) -> None:
    assert to_unicode(f"{label}.test") == f"{label}.test"


@pytest.mark.parametrize("domain", ["ü" * 60 + ".test", ".".join(["üüüüüüüüüü"] * 20)])
def test_what_is_too_long_for_dns_is_refused(domain: str) -> None:
    with pytest.raises(AddressError):
        to_ascii(domain)


@given(st.text(st.characters(min_codepoint=0xDF, max_codepoint=0x24F, categories=["Ll"]), min_size=1, max_size=8))
def test_the_way_back_is_the_same(label: str) -> None:
    assert to_unicode(to_ascii(f"{label}.test")) == f"{label}.test"
