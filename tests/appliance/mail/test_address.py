"""Addresses: what is let in can be written into a command line again, and no trick form means two things."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.errors import AddressError
from appliance.mail.address import MAX_DOMAIN, MAX_LABEL, MAX_LOCAL, Address, normal_domain


@pytest.mark.parametrize(
    ("text", "local", "domain", "written"),
    [
        ("ana@palomar.test", "ana", "palomar.test", "ana@palomar.test"),
        ("Ana.Maria+list@PALOMAR.Test", "Ana.Maria+list", "palomar.test", "Ana.Maria+list@palomar.test"),
        ('"ana maria"@palomar.test', "ana maria", "palomar.test", '"ana maria"@palomar.test'),
        ('"ana"@palomar.test', "ana", "palomar.test", "ana@palomar.test"),
        (r'"a\"b\\c"@palomar.test', r'a"b\c', "palomar.test", r'"a\"b\\c"@palomar.test'),
        ('"a..b"@palomar.test', "a..b", "palomar.test", '"a..b"@palomar.test'),
        ("ana@[192.0.2.1]", "ana", "[192.0.2.1]", "ana@[192.0.2.1]"),
        ("ana@[ipv6:2001:DB8::1]", "ana", "[IPv6:2001:db8::1]", "ana@[IPv6:2001:db8::1]"),
        ("josé@büro.test", "josé", "büro.test", "josé@büro.test"),
        ("ana@Bu\u0308ro.test", "ana", "büro.test", "ana@büro.test"),
        ("a@b--c.d-e", "a", "b--c.d-e", "a@b--c.d-e"),
        ("_srv@_host.test", "_srv", "_host.test", "_srv@_host.test"),
    ],
)
def test_forms_that_are_addresses(text, local, domain, written):
    address = Address.parse(text)
    assert (address.local, address.domain, str(address)) == (local, domain, written)


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "a", "a@", "@b.test", "a@@b.test", '""@b.test', '"a"b.test', '"a"', '"a@b.test'),
        *("a..b@c.test", ".a@c.test", "a.@c.test", "a b@c.test", "a@b..c", "a@.b", "a@b.", "a@-b", "a@b-.c", "a@b_-"),
        *("a@b c", "a@b,c", "a@b;c", "<a@b.test>", "a@b.test>", "a@b.test\n", "a@b.test\r\nRCPT TO:<x@y.test>"),
        *("a\0@b.test", '"a\0"@b.test', '"a\r\n"@b.test', '"a\x7f"@b.test', '"\\\n"@b.test', "a\x85@b.test"),
        *("a@b\u2028.test", '"\u2029"@b.test', "\ud800@b.test", "a@\udfff.test"),
        *("a@127.0.0.1", "a@1", "a@host.127", "a@٢٣.٤", "a@[127.0.0.256]", "a@[]", "a@[1.2.3]", "a@[IPv6:1]"),
        *("a@[IPv6:::ffff:127.0.0.300]", "a@[::1]", "a@[127.0.0.1", "a@[127.0.0.1]x", "a@x[127.0.0.1]", "a@[x-tag:y]"),
        "a" * (MAX_LOCAL + 1) + "@b.test",
        "é" * (MAX_LOCAL // 2 + 1) + "@b.test",
        "a@" + "b" * (MAX_LABEL + 1) + ".test",
        "a@" + "é" * (MAX_LABEL // 2 + 1) + ".test",
        "a@" + "b." * (MAX_DOMAIN // 2) + "test",
    ],
)
def test_forms_that_are_none(text):
    with pytest.raises(AddressError):
        Address.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "@relay.test:victim@outside.test",  # a source route: the SMTP grammar strips it, here it is no address
        "@relay.test,@other.test:victim@outside.test",
        "victim@outside.test@palomar.test",
        "victim@outside.test,ana@palomar.test",
        "victim@[outside.test]",
        "victim@outside.test:25@palomar.test",
        "victim@palomar.test.",
    ],
)
def test_relay_tricks_that_are_refused(text):
    with pytest.raises(AddressError):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("victim%outside.test@palomar.test", "victim%outside.test"),
        ("outside.test!victim@palomar.test", "outside.test!victim"),
        ('"victim@outside.test"@palomar.test', "victim@outside.test"),
        ('"@relay.test:victim@outside.test"@palomar.test', "@relay.test:victim@outside.test"),
        ('"outside.test!victim"@palomar.test', "outside.test!victim"),
        (r'"victim\@outside.test"@palomar.test', "victim@outside.test"),
        ("victim%outside.test%other.test@palomar.test", "victim%outside.test%other.test"),
        ("victim/outside.test@palomar.test", "victim/outside.test"),
    ],
)
def test_relay_tricks_are_local_parts_of_their_last_domain(text, local):
    address = Address.parse(text)
    assert (address.local, address.domain) == (local, "palomar.test")


def test_the_limits_themselves_are_allowed():
    local = "a" * MAX_LOCAL
    domain = ".".join(["b" * MAX_LABEL] * 3 + ["c" * (MAX_DOMAIN - 3 * (MAX_LABEL + 1))])
    assert len(domain) == MAX_DOMAIN
    assert str(Address.parse(f"{local}@{domain}")) == f"{local}@{domain}"


def test_key_ignores_case_and_unicode_form():
    assert Address.parse("JOSE\u0301@Palomar.test").key == Address.parse("josé@palomar.TEST").key == "josé@palomar.test"


def test_is_ascii_looks_at_both_sides():
    assert Address.parse("a@b.test").is_ascii
    assert not Address.parse("é@b.test").is_ascii
    assert not Address.parse("a@é.test").is_ascii


@pytest.mark.parametrize("text", ["a@" + "a-" * 200_000, "a@" + "a." * 200_000, '"' + r"\a" * 200_000, "a." * 200_000])
def test_long_input_is_refused_in_linear_time(text):
    started = time.process_time()
    with pytest.raises(AddressError):
        Address.parse(text)
    assert time.process_time() - started < 1


@given(st.text(st.sampled_from('ab@."\\ -[]:%é\u0301\u212aİ\0\r\n'), max_size=20) | st.text(max_size=30))
@example("a@\u0130.x")
def test_what_is_let_in_comes_back_the_same(text):
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address
    assert not set(str(address)) & set("\0\r\n")
    assert str(address).encode().decode() == str(address)
    assert address.key.rpartition("@")[2] == address.domain


def test_normal_domain_is_for_bare_domains_too():
    assert normal_domain("Example.ORG") == "example.org"
    with pytest.raises(AddressError):
        normal_domain("exa mple.org")
