"""The lines between two servers, however TCP cuts them, and what no list may do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.mail.address import Address
from appliance.mail.known import KnownRecipient
from plugins.peers.caller import parts
from plugins.peers.protocol import (
    MAX_EARLY_LINE,
    MAX_LINE,
    MAX_LISTS,
    NONE,
    PIECE,
    Alive,
    Challenge,
    Changes,
    Event,
    Held,
    PeerMachine,
    Proof,
    Refused,
    encode,
)
from plugins.peers.protocol_list import RecipientList, by_domain, candidates

SALT = b"s" * 16
ENTRY = b"e" * 16
MESSAGES: list[Event] = [
    Proof(b"n,,n=mail.palomar.test,r=nonce"),
    Challenge(b""),
    Held({}),
    Alive({"palomar.test": ENTRY, "münchen.test": NONE}),
    Changes("palomar.test", SALT, "+", [ENTRY], [], anew=True),
    Changes("palomar.test", SALT, "+", [], [ENTRY], last=True),
    Refused("go away"),
]


def events(pieces: list[bytes]) -> list[Event]:
    """What a machine makes of pieces; the last is a ProtocolError's text if it ends so."""
    machine = PeerMachine()
    found: list[Event] = []
    try:
        for piece in pieces:
            machine.receive(piece)
            while (event := machine.next_event()) is not None:
                found.append(event)
    except ProtocolError:
        found.append(Refused("ProtocolError"))
        assert machine.closed
        with pytest.raises(ProtocolError):
            machine.next_event()
    return found


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_messages_come_out_as_they_went_in(size: int) -> None:
    wire = b"".join(map(encode, MESSAGES))
    assert events([wire[at : at + size] for at in range(0, len(wire), size)]) == MESSAGES


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.sampled_from([encode(one)[:-1] for one in MESSAGES]), st.binary(max_size=50))
def test_events_do_not_depend_on_how_tcp_cut_the_bytes(first: bytes, second: bytes) -> None:
    data = first + b"\n" + second
    assert events([bytes([byte]) for byte in data]) == events([data])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[" * 4000,
        b'{"type":"unheard"}',
        b'{"type":"proof","data":"?"}',
        b'{"type":"held","lists":{"a":"AAAA"}}',
        b"\xff\xfe",
        encode(Alive({str(number): ENTRY for number in range(MAX_LISTS + 1)})),
        encode(Changes("a", b"short", "", [], [])),
        encode(Changes("a", SALT, "+" * 9, [], [])),
        encode(Changes("a", SALT, "", [ENTRY, b"x"], [])),
        encode(Changes("a", SALT, "", [], [b""])),
    ],
)
def test_what_is_no_message_ends_it(line: bytes) -> None:
    machine = PeerMachine()
    machine.trusted = True
    machine.receive(line + b"\n")
    with pytest.raises(ProtocolError):
        machine.next_event()


@pytest.mark.parametrize(("trusted", "limit"), [(False, MAX_EARLY_LINE), (True, MAX_LINE)])
def test_a_line_that_never_ends_is_cut(trusted: bool, limit: int) -> None:
    machine = PeerMachine()
    machine.trusted = trusted
    machine.receive(b"x" * limit)
    assert machine.next_event() is None
    machine.receive(b"x")
    with pytest.raises(ProtocolError):
        machine.next_event()


def test_the_largest_part_fits_into_a_line() -> None:
    entries = [number.to_bytes(16, "big") for number in range(PIECE)]
    line = encode(Changes("x" * 255, SALT, "+", entries, entries, anew=True, last=True))
    assert len(line) <= MAX_LINE


def made(*addresses: str, separator: str = "+") -> RecipientList:
    return RecipientList.of([KnownRecipient(one, separator) for one in addresses], SALT)


@pytest.mark.parametrize("count", [0, 1, PIECE, PIECE + 1])
def test_the_parts_of_a_change_make_one_list_of_the_other(count: int) -> None:
    before, after = made(*(f"a{n}@b.test" for n in range(3))), made(*(f"a{n}@b.test" for n in range(count)))
    for start in (None, before, RecipientList(SALT, "", before.entries)):
        found = list(parts("b.test", after, start))
        assert [one.last for one in found] == [False] * (len(found) - 1) + [True]
        held = set() if found[0].anew else set(before.entries)
        for one in found:
            held = held - set(one.remove) | set(one.add)
        assert held == after.entries
        assert found[0].anew == (start is None or start.separators != after.separators)
        assert not any(one.anew for one in found[1:])


def holds(known: RecipientList, address: str) -> bool:
    return any(one in known.entries for one in candidates(known.salt, known.separators, Address.parse(address)))


def test_details_and_whole_domains() -> None:
    known = made("ana@b.test")
    assert [holds(known, one) for one in ("ana@b.test", "ANA+x@B.test", "ana+@b.test")] == [True] * 3
    assert [holds(known, one) for one in ("an@b.test", "+ana@b.test", "ana-x@b.test", "ana@c.test")] == [False] * 4
    assert holds(RecipientList.of([KnownRecipient("@b.test")], SALT), "anybody@b.test")
    assert not holds(made("ana@b.test", separator=""), "ana+x@b.test")


def test_equal_lists_have_equal_digests_and_others_have_not() -> None:
    lists = [made("a@b.test"), made("c@b.test"), made("a@b.test", "c@b.test"), made("a@b.test", separator="")]
    digests = {one.digest for one in lists}
    assert len(digests) == len(lists)
    assert made("c@b.test", "a@b.test").digest in digests
    assert RecipientList.of([KnownRecipient("a@b.test", "+")], b"t" * 16).digest not in digests


def test_lists_are_by_domain() -> None:
    known = [KnownRecipient(one) for one in ("a@b.test", "@c.test", "d@b.test", "e@f.test")]
    assert by_domain(known, lambda domain: domain != "f.test") == {"b.test": [known[0], known[2]], "c.test": [known[1]]}
