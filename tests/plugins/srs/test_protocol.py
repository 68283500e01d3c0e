"""Return addresses of the scheme: what libsrs2 makes and takes, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import AddressError
from appliance.mail.address import MAX_LOCAL, Address
from plugins.srs.protocol import (
    DAYS,
    SrsError,
    Token,
    forward,
    forward_token,
    is_srs,
    reverse,
    token_of,
)

KEY, OLD_KEY = b"tops3cr3t", b"older"
DAY = 18_291  # 2020-01-30


def made(sender: str, *, key: bytes = KEY, day: int = DAY, hash_length: int = 4) -> Address:
    return forward(Address.parse(sender), "example.com", key, day=day, hash_length=hash_length)


def found(address: Address | str, *, day: int | None = DAY, keys: tuple[bytes, ...] = (KEY,)) -> str:
    one = Address.parse(address) if isinstance(address, str) else address
    return str(reverse(one, keys, day=day, max_age_days=21, hash_length=4))


def test_the_forms_are_those_of_the_paper() -> None:
    first = made("test@otherdomain.com")
    assert str(first).startswith("SRS0=")
    assert str(first).endswith("=otherdomain.com=test@example.com")
    assert len(first.local.split("=")[1]) == 4
    second = forward(first, "second.test", b"another", day=DAY, hash_length=4)
    assert second.local == f"SRS1={second.local.split('=')[1]}=example.com={first.local[4:]}"
    third = forward(second, "third.test", b"a third", day=DAY, hash_length=4)
    assert third.local.split("=", 2)[2] == second.local.split("=", 2)[2]  # the first host stays, it alone knows more
    assert len(third.local) == len(second.local)
    assert reverse(third, [b"a third"], day=None, max_age_days=21, hash_length=4) == first
    assert found(first) == "test@otherdomain.com"


@pytest.mark.parametrize("separator", "+-=")
def test_other_separators_and_another_case_are_understood(separator: str) -> None:
    address = made("Test@otherdomain.com")
    changed = Address(f"SRS0{separator}{address.local[5:]}", address.domain)
    assert found(changed) == "Test@otherdomain.com"
    assert found(Address(changed.local.lower(), changed.domain)) == "test@otherdomain.com"
    theirs = forward(changed, "second.test", b"another", day=DAY, hash_length=4)
    assert reverse(theirs, [b"another"], day=DAY, max_age_days=21, hash_length=4) == changed


def test_an_older_key_still_opens() -> None:
    address = made("test@otherdomain.com", key=OLD_KEY)
    assert found(address, keys=(KEY, OLD_KEY)) == "test@otherdomain.com"
    with pytest.raises(SrsError, match="not made here"):
        found(address)


@pytest.mark.parametrize(("days", "good"), [(-2, False), (-1, True), (0, True), (21, True), (22, False), (DAYS, True)])
def test_its_age_counts(days: int, good: bool) -> None:
    address = made("test@otherdomain.com")
    if good:
        assert found(address, day=DAY + days) == "test@otherdomain.com"
    else:
        with pytest.raises(SrsError, match="expired"):
            found(address, day=DAY + days)
        assert found(address, day=None) == "test@otherdomain.com"  # nobody knows the time


@pytest.mark.parametrize(
    "address",
    [
        "SRS0=abcd@example.com",
        "SRS0=abcd=AB@example.com",
        "SRS0=abcd=AB=otherdomain.com@example.com",
        "SRS0=abcd=AB=otherdomain.com=@example.com",
        "SRS0=abcd=AB=otherdomain.com=test@example.com",
        "SRS0==AB=otherdomain.com=test@example.com",
        "SRS1=abcd@example.com",
        "SRS1=abcd=host.test@example.com",
        "SRS1=abcd=host.test=xx@example.com",
        "SRS1=abcd=host.test==abcd=AB=otherdomain.com=test@example.com",
        "SRS2=abcd=AB=otherdomain.com=test@example.com",
        "srs0@example.com",
        "ana@example.com",
    ],
)
def test_what_is_none_is_refused(address: str) -> None:
    with pytest.raises(SrsError):
        found(address)


def test_every_changed_part_is_seen() -> None:
    local = made("test@otherdomain.com", hash_length=20).local
    hash_, stamp, host, user = local.split("=", 4)[1:]
    for changed in (
        f"SRS0={hash_}={stamp}={host}=rest",
        f"SRS0={hash_}={stamp}=other.test={user}",
        f"SRS0={hash_}=AA={host}={user}",
        f"SRS0={hash_[1:]}x={stamp}={host}={user}",
        f"SRS0={hash_[:3]}={stamp}={host}={user}",  # too short to mean anything
        f"SRS0={hash_}{'A' * 20}={stamp}={host}={user}",
    ):
        with pytest.raises(SrsError, match="changed on the way"):
            found(Address(changed, "example.com"))


def test_what_a_good_hash_leads_to_must_still_be_an_address() -> None:
    bad = forward(Address("no domain", "-"), "example.com", KEY, day=DAY, hash_length=4)
    with pytest.raises(SrsError, match="leads to no address"):
        found(bad)


def test_a_token_comes_back_in_any_case() -> None:
    token = token_of(Address.parse(f"{'x' * 60}@a-rather-long-domain.example.org"))
    address = forward_token(token, "example.com", KEY, day=DAY, hash_length=6)
    assert len(address.local) <= 64
    shouted = Address(address.local.lower(), address.domain)
    assert reverse(shouted, [KEY], day=DAY, max_age_days=21, hash_length=6) == token
    assert isinstance(token, Token)


text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40)
domains = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){0,3}\.[a-z]{2,6}", fullmatch=True)


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    try:
        return Address.parse(str(Address(draw(text), draw(domains))))
    except AddressError:
        return Address.parse(f"plain@{draw(domains)}")


@settings(max_examples=300)
@given(addresses(), st.integers(0, 40_000), st.integers(4, 20), st.integers(1, 3))
def test_every_sender_comes_back_through_any_number_of_forwarders(
    sender: Address, day: int, hash_length: int, hops: int
) -> None:
    keys = {f"hop{number}.test": f"key {number}".encode() for number in range(hops)}
    address = sender
    for domain, key in keys.items():
        address = forward(address, domain, key, day=day, hash_length=hash_length)
        assert is_srs(address)
        if len(address.local.encode()) > MAX_LOCAL:
            return  # then the role keeps the sender
        assert Address.parse(str(address)) == address  # what goes on the wire is read back as it is
    while address != sender:
        back = reverse(address, [keys[address.domain]], day=day, max_age_days=21, hash_length=hash_length)
        assert isinstance(back, Address)
        address = back


@settings(max_examples=300)
@given(st.text(alphabet='SRSsr01=+-AB4.@"\\ é', max_size=30), domains)
def test_strangers_texts_never_get_through(local: str, domain: str) -> None:
    with pytest.raises(SrsError):
        reverse(Address(f"SRS{local}", domain), [KEY], day=DAY, max_age_days=21, hash_length=4)
