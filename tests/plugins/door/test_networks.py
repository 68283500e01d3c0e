"""Buckets, counts and tables: what they allow, and that they stay small."""

from __future__ import annotations

import pytest

from plugins.door.networks import MAX_NETWORKS, Bucket, Network, Recent, Trusted, network_of


def test_a_bucket_holds_a_minutes_worth_and_fills_up_again() -> None:
    bucket = Bucket()
    assert [bucket.take(1000.0, 3) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(1020.0, 3) for _ in range(2)] == [True, False]
    assert [bucket.take(9000.0, 3) for _ in range(4)] == [True, True, True, False]
    assert all(bucket.take(9000.0, 0) for _ in range(1000))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("192.0.2.1", "::ffff:192.0.2.9", True),
        ("2001:db8:1:1::1", "2001:db8:1:ffff::1", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("0.0.0.1", "::1", False),
    ],
)
def test_peers_are_counted_by_network(one: str, other: str, same: bool) -> None:
    assert (network_of(one, 24, 48) == network_of(other, 24, 48)) is same


def test_a_table_keeps_what_was_used_last() -> None:
    table: Recent[int, int] = Recent(3)
    for key in (1, 2, 3):
        table.put(key, key)
    assert table.get(1) == 1
    table.put(4, 4)
    assert [key for key, _ in table.items()] == [3, 1, 4]


def test_many_networks_take_the_room_of_some() -> None:
    table: Recent[str, Network] = Recent(MAX_NETWORKS)
    for number in range(3 * MAX_NETWORKS):
        table.entry(network_of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 32, 48), Network)
        table.entry("the one that is always here", Network).open += 1
    assert len(table) == MAX_NETWORKS
    assert table.entry("the one that is always here", Network).open == 3 * MAX_NETWORKS


def test_harvesters_are_known_by_their_share_and_in_time() -> None:
    for good, unknown, apart, found in ((0, 30, 1, True), (0, 29, 1, False), (8, 30, 1, False), (7, 30, 1, True)):
        network = Network()
        for number in range(good + unknown):
            network.named(apart * number, good=number < good, unknown=number >= good)
        assert network.harvests(30, 0.8) is found, (good, unknown)
    slow = Network()
    for number in range(1000):
        slow.named(600.0 * number, unknown=1)
    assert not slow.harvests(30, 0.8)
    assert not slow.harvests(0, 0.8)


def test_trusted_networks() -> None:
    trusted = Trusted()
    texts = ("127.0.0.0/8", "::1/128", "192.168.1.0/24")
    known = ("", "127.0.0.5", "::1", "::ffff:192.168.1.7", "192.168.1.255")
    assert [trusted.has(ip, texts) for ip in known] == [True] * 5
    assert not any(trusted.has(ip, texts) for ip in ("192.168.2.1", "2001:db8::1", "::2"))
    assert not trusted.has("127.0.0.1", ())
