"""Domains in ASCII and in Unicode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import AddressError
from appliance.mail.address import normal_domain
from appliance.mail.idna import to_ascii, to_unicode


@pytest.mark.parametrize(
    ("domain", "ascii_form"),
    [
        ("palomar.test", "palomar.test"),
        ("büro.test", "xn--bro-hoa.test"),
        ("straße.test", "xn--strae-oqa.test"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
    ],
)
def test_both_directions(domain, ascii_form):
    assert to_ascii(domain) == ascii_form
    assert to_unicode(ascii_form) == domain
    assert to_unicode(domain) == domain


@pytest.mark.parametrize("domain", ["é" * 60 + ".test", ".".join(["é" * 20] * 12)])
def test_what_is_too_long_for_dns(domain):
    with pytest.raises(AddressError, match="too long"):
        to_ascii(domain)


@pytest.mark.parametrize("domain", ["xn--.test", "xn--abc-.test", "xn--\x80.test", "xn--99999999.test", "xn--a.test"])
def test_a_label_that_is_no_sound_a_label_stays(domain):
    assert to_unicode(domain) == domain


@given(st.text(st.sampled_from("abüßéテ-.0"), min_size=1, max_size=12))
def test_every_domain_comes_back(text):
    try:
        domain = normal_domain(text)
    except AddressError:
        return
    ascii_form = to_ascii(domain)
    assert ascii_form.isascii()
    assert to_unicode(ascii_form) == domain


@given(st.text(st.sampled_from("abz09-"), max_size=12))
def test_any_label_is_read_or_stays(label):
    domain = f"xn--{label}.test"
    text = to_unicode(domain)
    assert text == domain or (normal_domain(text) == text and to_ascii(text) == domain)
