"""The brakes on guessing."""

import pytest

from appliance.auth import throttle
from appliance.auth.throttle import Throttle, peer_key

PEER, OTHER = "192.0.2.1", "192.0.2.2"


def fail(brakes: Throttle, peer: str, login: str, guess: bytes, now: float = 0.0) -> int:
    return brakes.failed(peer, login, guess, now, window=600, limit=5)


def blocked(brakes: Throttle, peer: str, login: str, now: float = 0.0) -> bool:
    return brakes.blocked(peer, login, now, peer_limit=3, login_limit=5)


def test_a_peer_is_held_back_after_its_limit_and_let_go_after_the_window() -> None:
    brakes = Throttle()
    counts = [fail(brakes, PEER, f"u{n}", b"x%d" % n, now=n) for n in range(3)]
    assert counts == [1, 2, 3]
    assert blocked(brakes, PEER, "anybody", now=10)
    assert not blocked(brakes, OTHER, "anybody", now=10)
    assert blocked(brakes, PEER, "anybody", now=599)
    assert not blocked(brakes, PEER, "anybody", now=600)  # the first failure has stopped to count


def test_repeating_one_wrong_password_counts_once() -> None:
    brakes = Throttle()
    assert [fail(brakes, PEER, "ana", b"same") for _ in range(10)] == [1] * 10
    assert not blocked(brakes, PEER, "ana")


def test_a_name_under_attack_from_everywhere_stays_open_for_those_who_know_it() -> None:
    brakes = Throttle()
    brakes.succeeded(PEER, "ana")
    for n in range(5):
        fail(brakes, f"198.51.100.{n}", "ana", b"guess%d" % n)
    assert blocked(brakes, OTHER, "ana")
    assert not blocked(brakes, OTHER, "luis")
    assert not blocked(brakes, PEER, "ana")


def test_even_a_known_peer_may_not_guess_for_ever() -> None:
    brakes = Throttle()
    brakes.succeeded(PEER, "ana")
    for n in range(5):
        assert not blocked(brakes, PEER, "ana")
        fail(brakes, PEER, "ana", b"guess%d" % n)
    assert blocked(brakes, PEER, "ana")
    assert not blocked(brakes, PEER, "luis")  # the office does not suffer for ana's device


def test_this_machine_is_judged_by_login_name_alone() -> None:
    brakes = Throttle()
    brakes.succeeded("", "ana")
    for n in range(5):
        fail(brakes, "", "ana", b"guess%d" % n)
    assert blocked(brakes, "", "ana")
    assert not blocked(brakes, "", "luis")


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_ENTRIES", 3)
    monkeypatch.setattr(throttle, "MAX_KNOWN", 2)
    brakes = Throttle()
    for n in range(10):
        for guess in (b"1", b"2", b"3"):
            fail(brakes, f"192.0.2.{n}", f"u{n}", guess)
        brakes.succeeded(f"198.51.100.{n}", f"u{n}")
    assert not blocked(brakes, "192.0.2.6", "x")
    assert blocked(brakes, "192.0.2.7", "x")
    assert len(brakes._known) == 2


@pytest.mark.parametrize(
    ("peer_ip", "key"),
    [
        ("", ""),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_peer_keys(peer_ip: str, key: str) -> None:
    assert peer_key(peer_ip) == key
