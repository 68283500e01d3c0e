"""The order of mail exchangers, and where the list is cut."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.dns import MxHost
from plugins.relay.exchangers import in_order, interleaved, named_host

names = st.sampled_from(["a.test", "b.test", "c.test", "d.test", "me.test", "ME.test."])
hosts = st.lists(st.builds(MxHost, st.integers(0, 3), names), max_size=8)


def test_preferences_come_first_and_equal_ones_are_shuffled() -> None:
    listed = [MxHost(20, "c"), MxHost(10, "a"), MxHost(10, "b")]
    orders = {tuple(host.name for host in in_order(listed, "me", Random(seed))) for seed in range(20)}
    assert orders == {("a", "b", "c"), ("b", "a", "c")}


def test_the_list_is_cut_where_we_stand() -> None:
    listed = [MxHost(10, "primary.test"), MxHost(20, "Me.Test."), MxHost(20, "other.test"), MxHost(30, "last.test")]
    assert [host.name for host in in_order(listed, "me.test", Random(1))] == ["primary.test"]
    assert in_order(listed[1:], "me.test", Random(1)) == []


@given(hosts, st.integers())
def test_no_host_is_invented_or_behind_us(listed: list[MxHost], seed: int) -> None:
    ordered = in_order(listed, "me.test", Random(seed))
    assert [host.preference for host in ordered] == sorted(host.preference for host in ordered)
    own = [host.preference for host in listed if host.name.lower().rstrip(".") == "me.test"]
    kept = [host for host in listed if not own or host.preference < min(own)]
    assert sorted(map(str, ordered)) == sorted(map(str, kept))


def test_families_take_turns() -> None:
    assert interleaved(["::1", "::2", "::3", "1.1.1.1"]) == ["::1", "1.1.1.1", "::2", "::3"]
    assert interleaved(["1.1.1.1", "2.2.2.2"]) == ["1.1.1.1", "2.2.2.2"]
    assert interleaved([]) == []


@pytest.mark.parametrize(
    ("hop", "host", "port"),
    [
        ("b.test", "b.test", 0),
        ("[mx.b.test]", "mx.b.test", 0),
        ("[192.0.2.1]:2525", "192.0.2.1", 2525),
        ("[IPv6:2001:db8::1]", "2001:db8::1", 0),
        ("[2001:db8::1]:587", "2001:db8::1", 587),
    ],
)
def test_a_host_may_be_named_with_its_port(hop: str, host: str, port: int) -> None:
    assert named_host(hop) == (host, port)
