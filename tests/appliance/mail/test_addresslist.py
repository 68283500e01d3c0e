"""Address lists of headers: names, groups, routes, comments, and what is none of them."""

import time
from email.utils import formataddr, getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.addresslist import GROUP_END, MAX_TOKENS, ListedAddress, address_list


def box(name, local, domain, route=None):
    return ListedAddress(name, route, local, domain)


@pytest.mark.parametrize(
    ("value", "boxes"),
    [
        (b"", []),
        (b" , ,", []),
        (b"a@b", [box(None, b"a", b"b")]),
        (b"<a@b>", [box(None, b"a", b"b")]),
        (b"Ana Maria <a@b>", [box(b"Ana Maria", b"a", b"b")]),
        (b'"Doe, John" <a@b>', [box(b"Doe, John", b"a", b"b")]),
        (rb'"a \"b\" \\c" <a@b>', [box(rb'a "b" \c', b"a", b"b")]),
        (b'Ana "M" Z. <a@b>', [box(b"Ana M Z.", b"a", b"b")]),
        (b"=?utf-8?Q?Jos=C3=A9?= <a@b>", [box(b"=?utf-8?Q?Jos=C3=A9?=", b"a", b"b")]),
        ("José <a@b>".encode(), [box("José".encode(), b"a", b"b")]),
        (b"Ana\r\n\tMaria\r\n <a@b>", [box(b"Ana Maria", b"a", b"b")]),
        (b"a@b (Ana (the one) Maria)", [box(b"Ana (the one) Maria", b"a", b"b")]),
        (b"Ana (not me) <a@b> (nor me)", [box(b"Ana", b"a", b"b")]),
        (b"a(x)@(y)b", [box(b"y", b"a", b"b")]),
        (b'"a b"@c', [box(None, b"a b", b"c")]),
        (b'x <"a@b"@c>', [box(b"x", b"a@b", b"c")]),
        (b"<a@[192.0.2.1]>, b@[IPv6:::1]", [box(None, b"a", b"[192.0.2.1]"), box(None, b"b", b"[IPv6:::1]")]),
        (b"<@x,@y:a@b>", [box(None, b"a", b"b", b"@x,@y")]),
        (b"J . D <j . d @ x . y>", [box(b"J . D", b"j.d", b"x.y")]),
        (b"a @ b . c", [box(None, b"a", b"b.c")]),
        (
            b"Staff: a@b, Ana <c@d>;",
            [box(None, b"Staff", None), box(None, b"a", b"b"), box(b"Ana", b"c", b"d"), GROUP_END],
        ),
        (b"undisclosed-recipients:;", [box(None, b"undisclosed-recipients", None), GROUP_END]),
        (
            b"A: a@b; , B:;c@d",
            [
                box(None, b"A", None),
                box(None, b"a", b"b"),
                GROUP_END,
                box(None, b"B", None),
                GROUP_END,
                box(None, b"c", b"d"),
            ],
        ),
        (b"never: a@b", [box(None, b"never", None), box(None, b"a", b"b"), GROUP_END]),
        # What is no address is still shown, with an empty domain: NIL there would start a group (RFC 3501 7.4.2).
        (b"ana", [box(None, b"ana", b"")]),
        (b"Ana Maria", [box(None, b"Ana Maria", b"")]),
        (b"<ana>", [box(None, b"ana", b"")]),
        (b"Ana <>", [box(b"Ana", b"", b"")]),
        (b"<a@b", [box(None, b"a", b"b")]),
        (b"<a@b, c@d", [box(None, b"a", b"b"), box(None, b"c", b"d")]),
        (b"<a@b; c@d", [box(None, b"a", b"b"), box(None, b"c", b"d")]),
        (b"a@b>", [box(None, b"a", b"b>")]),
        (b"a@b@c", [box(None, b"a", b"b@c")]),
        (b"<a@b@c>", [box(None, b"a@b", b"c")]),
        (b"<a@b> <c@d>", [box(None, b"a", b"b")]),
        (b'"never closed <a@b>', [box(None, b"never closed <a@b>", b"")]),
        (b"a@b (never closed, c@d", [box(b"never closed, c@d", b"a", b"b")]),
        (b";;", []),
    ],
)
def test_lists(value, boxes):
    assert address_list(value) == boxes


@pytest.mark.parametrize(
    "value",
    [
        b"a@b," * 100_000,
        b"(" * 400_000,
        b"<" * 400_000,
        b'"\\' * 200_000,
        b"a " * 200_000,
        b"@" * 400_000,
        b":;" * 200_000,
    ],
)
def test_hostile_lists_cost_linear_time_and_stop_at_the_limit(value):
    started = time.process_time()
    boxes = address_list(value)
    assert time.process_time() - started < 1
    assert len(boxes) <= MAX_TOKENS + 1


@given(st.lists(st.sampled_from(list(b'ab@.<>,"() :;\\[]\t'))).map(bytes) | st.binary(max_size=60))
def test_any_octets_give_a_list(value):
    depth = 0
    for entry in address_list(value):
        if entry.domain is None:
            depth += 1 if entry.local is not None else -1
        assert depth in (0, 1)
    assert depth == 0


names = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=15).map(
    lambda name: " ".join(name.split())
)
locals_ = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,8}(\.[a-z0-9]{1,4})?", fullmatch=True)
domains = st.from_regex(r"[a-z0-9]{1,8}\.[a-z]{2,3}", fullmatch=True)


@given(st.lists(st.tuples(names, locals_, domains), min_size=1, max_size=5))
def test_well_formed_lists_agree_with_the_standard_library(people):
    line = ", ".join(formataddr((name, f"{local}@{domain}")) for name, local, domain in people)
    ours = [(box.name or b"", (box.local or b"") + b"@" + (box.domain or b"")) for box in address_list(line.encode())]
    assert [(name.decode(), address.decode()) for name, address in ours] == getaddresses([line])
