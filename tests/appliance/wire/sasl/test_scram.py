"""SCRAM: the examples of RFC 5802 and RFC 7677, channel binding, and every way to get it wrong."""

import base64
import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.sasl.client import client
from appliance.wire.sasl.errors import SaslError, SaslServerError
from appliance.wire.sasl.scram import SHA1, SHA256, ScramHash, ScramVerifier, xor
from appliance.wire.sasl.scram_client import ScramClient
from appliance.wire.sasl.scram_server import ScramServer
from appliance.wire.sasl.server import Disproved, Lookup, Proven, SendChallenge

BINDING = b"certificate hash"
EXAMPLES = {
    "SCRAM-SHA-1": (  # RFC 5802 section 5
        SHA1,
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (  # RFC 7677 section 3
        SHA256,
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


def stored(family: ScramHash = SHA256, password: str = "pencil", salt: bytes = b"salt") -> bytes:
    return bytes(ScramVerifier.make(family, password, salt, 4096))


SECRET = stored()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_rfcs(name: str) -> None:
    family, first, challenge, final, verdict = EXAMPLES[name]
    salt = base64.b64decode(re.search(rb"s=([^,]+)", challenge)[1])
    client_nonce = first.rpartition(b"r=")[2]
    server_nonce = re.match(rb"r=([^,]+)", challenge)[1].removeprefix(client_nonce)

    machine = ScramServer(family, server_nonce)
    assert machine.step(None) == SendChallenge(b"")
    assert machine.step(first) == Lookup("user", family.kind)
    assert machine.supply(stored(family, "pencil", salt), genuine=True) == SendChallenge(challenge)
    assert machine.step(final) == SendChallenge(verdict)
    assert machine.step(b"") == Proven("user")

    user = client(name, "user", "pencil", nonce=client_nonce)
    assert [user.step(None), user.step(challenge), user.step(verdict)] == [first, final, b""]
    assert user.done


def talk(user: ScramClient, machine: ScramServer, verifier: bytes = SECRET, *, genuine: bool = True) -> object:
    """Let both sides talk until the server has concluded."""
    message = user.step(None)
    while True:
        event = machine.step(message)
        if isinstance(event, Lookup):
            event = machine.supply(verifier, genuine=genuine)
        if not isinstance(event, SendChallenge):
            return event
        message = user.step(event.data)


def pair(
    *, plus: bool = False, user_binding: bytes = b"", server_binding: bytes = b"", password: str = "pencil"
) -> tuple[ScramClient, ScramServer]:
    return (
        ScramClient(SHA256, "a,b=c", password, b"cnonce", plus=plus, binding=user_binding, plus_offered=plus),
        ScramServer(SHA256, b"snonce", plus=plus, binding=server_binding, plus_offered=bool(server_binding)),
    )


def test_names_with_commas_and_equals_signs() -> None:
    assert talk(*pair()) == Proven("a,b=c")


def test_channel_binding() -> None:
    assert talk(*pair(plus=True, user_binding=BINDING, server_binding=BINDING)) == Proven("a,b=c")


def test_a_man_in_the_middle_has_another_certificate() -> None:
    assert talk(*pair(plus=True, user_binding=b"his", server_binding=BINDING)) == Disproved("a,b=c")


def test_a_cut_out_plus_offer_is_noticed() -> None:
    with pytest.raises(SaslError, match="did not see"):
        talk(*pair(user_binding=BINDING, server_binding=BINDING))


def test_a_client_that_knows_no_binding_may_go_without() -> None:
    assert talk(*pair(server_binding=BINDING)) == Proven("a,b=c")


def test_wrong_password_and_made_up_verifier_look_alike() -> None:
    assert talk(*pair(password="wrong")) == Disproved("a,b=c")
    assert talk(*pair(), genuine=False) == Disproved("a,b=c")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n=user,r=x",
        b"x,,n=user,r=x",
        b"n,,n=,r=x",
        b"n,,n=user",
        b"n,,n=user,r=",
        b"n,,n=us=er,r=x",
        b"n,,n=us=2der,r=x",
        b"n,,m=ext,n=user,r=x",
        b"n,,n=user,r=x\x00",
        b"n,,n=\xff,r=x",
        b"p=tls-unique,,n=user,r=x",
        b"p=tls-server-end-point,,n=user,r=x",
    ],
)
def test_client_first_refused(first: bytes) -> None:
    with pytest.raises(SaslError):
        ScramServer(SHA256, b"s").step(first)


def test_plus_wants_its_binding_type() -> None:
    for first in (b"n,,n=user,r=x", b"y,,n=user,r=x", b"p=tls-unique,,n=user,r=x"):
        with pytest.raises(SaslError, match=r"[Bb]inding|flag"):
            ScramServer(SHA256, b"s", plus=True, binding=BINDING, plus_offered=True).step(first)


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        (b"r=cnoncesnonce", b"r=cnoncesnoncf", True),
        (b"r=cnoncesnonce", b"r=cnonce", True),
        (b"c=biws", b"c=!!", True),
        (b"c=biws", b"c=biw", True),
        (b"c=biws", b"c=eSws", False),
        (b",p=", b",x=", True),
        (b",p=", b",p=AAAA,p=", False),
        (b",p=", b",p=AAAA", False),
        (b",p=", b",x=AAAA,p=", False),  # extensions are covered by the proof
    ],
)
def test_client_final_tampered_with(old: bytes, new: bytes, refused: bool) -> None:
    user, machine = pair()
    machine.step(user.step(None))
    final = user.step(machine.supply(SECRET, genuine=True).data)
    assert old in final
    tampered = final.replace(old, new)
    if refused:
        with pytest.raises(SaslError):
            machine.step(tampered)
    else:
        assert machine.step(tampered) == Disproved("a,b=c")
    with pytest.raises(SaslError):
        machine.step(final if not refused else b"")


def test_nothing_is_proven_without_the_empty_answer() -> None:
    user, machine = pair()
    machine.step(user.step(None))
    final = user.step(machine.supply(SECRET, genuine=True).data)
    machine.step(final)
    with pytest.raises(SaslError, match="empty"):
        machine.step(b"x")


def test_the_server_does_not_take_a_verifier_of_the_other_family() -> None:
    for verifier in (stored(SHA1), b"", b"SCRAM-SHA-256$4096:AAAA$AAAA:AAAA", SECRET.replace(b"4096", b"0")):
        user, machine = pair()
        machine.step(user.step(None))
        with pytest.raises(ValueError, match="SCRAM"):
            machine.supply(verifier, genuine=True)


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"e=other-error",
        b"r=cnonce,s=c2FsdA==,i=4096",
        b"r=other,s=c2FsdA==,i=4096",
        b"r=cnoncesnonce,s=!,i=4096",
        b"r=cnoncesnonce,s=c2FsdA,i=4096",
        b"r=cnoncesnonce,s=c2FsdA==,i=0",
        b"r=cnoncesnonce,s=c2FsdA==,i=1",
        b"r=cnoncesnonce,s=c2FsdA==,i=9999999",
        b"m=x,r=cnoncesnonce,s=c2FsdA==,i=4096",
    ],
)
def test_a_client_refuses_a_server(challenge: bytes) -> None:
    user, _ = pair()
    user.step(None)
    with pytest.raises(SaslServerError):
        user.step(challenge)
    assert not user.done


def test_a_server_that_does_not_know_the_password_is_not_trusted() -> None:
    user, machine = pair()
    machine.step(user.step(None))
    user.step(machine.supply(SECRET, genuine=True).data)
    for verdict in (b"v=AAAA", b"v=!", b"e=invalid-proof", b""):
        with pytest.raises(SaslServerError):
            user.step(verdict)
    assert not user.done


def test_a_client_needs_a_nonce_and_binding_data() -> None:
    for nonce, plus in ((b"", False), (b"a,b", False), (b"x", True)):
        with pytest.raises(ValueError, match=r"nonce|binding"):
            ScramClient(SHA256, "a", "b", nonce, plus=plus)


def test_verifiers_survive_their_text_form() -> None:
    for family in (SHA1, SHA256):
        made = ScramVerifier.make(family, "pencil", b"\0\xff salt", 4096)
        assert ScramVerifier.parse(bytes(made)) == made


@given(st.lists(st.none() | st.binary(max_size=60) | st.from_regex(rb"n,,n=[a-z=,]*,r=[!-~]*"), max_size=4))
def test_garbage_gives_an_event_or_a_sasl_error(messages: list[bytes | None]) -> None:
    machine = ScramServer(SHA256, b"snonce")
    with contextlib.suppress(SaslError):
        for message in messages:
            event = machine.step(message)
            assert isinstance(event, SendChallenge | Lookup | Disproved)
            if isinstance(event, Lookup):
                machine.supply(SECRET, genuine=True)


@given(
    st.binary(max_size=40).flatmap(
        lambda left: st.tuples(st.just(left), st.binary(min_size=len(left), max_size=len(left)))
    )
)
def test_xor_undoes_itself(both: tuple[bytes, bytes]) -> None:
    left, right = both
    assert xor(xor(left, right), right) == left
