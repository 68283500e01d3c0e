"""PLAIN, LOGIN, CRAM-MD5 and APOP: examples of their RFCs, both sides against each other, and garbage."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.sasl.client import BearerClient, ExternalClient, choose, choose_token, client
from appliance.wire.sasl.errors import SaslError, SaslServerError
from appliance.wire.sasl.server import (
    CheckPassword,
    CramMd5Server,
    Disproved,
    LoginServer,
    Lookup,
    PlainServer,
    Proven,
    SendChallenge,
    apop_digest,
)

TIMS_STAMP = b"<1896.697170952@postoffice.reston.mci.net>"  # RFC 2195 section 2
TIMS_ANSWER = b"tim b913a602c7eda7a495b4e6e7334d3890"
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


def test_plain_with_and_without_an_initial_response() -> None:
    assert PlainServer().step(b"\0tim\0tanstaaftanstaaf") == CheckPassword("tim", "tanstaaftanstaaf")
    assert PlainServer().step(b"Ursel\0Kurt\0xipj3plmq") == CheckPassword("Kurt", "xipj3plmq", "Ursel")
    machine = PlainServer()
    assert machine.step(None) == SendChallenge(b"")
    assert machine.step("\0ana\0contraseña".encode()) == CheckPassword("ana", "contraseña")


@pytest.mark.parametrize("data", [b"", b"\0", b"a\0b", b"\0\0p", b"\0u\0", b"a\0b\0c\0d", b"\0\xff\0p"])
def test_plain_refuses(data: bytes) -> None:
    with pytest.raises(SaslError):
        PlainServer().step(data)


def test_login_prompts_and_takes_an_initial_name() -> None:
    machine = LoginServer()
    assert machine.step(None) == SendChallenge(b"Username:")
    assert machine.step(b"tim") == SendChallenge(b"Password:")
    assert machine.step(b"secret") == CheckPassword("tim", "secret")
    machine = LoginServer()
    assert machine.step(b"tim") == SendChallenge(b"Password:")
    with pytest.raises(SaslError):
        machine.step(b"")


def test_cram_md5_example() -> None:
    machine = CramMd5Server(TIMS_STAMP)
    assert machine.step(None) == SendChallenge(TIMS_STAMP)
    assert machine.step(TIMS_ANSWER) == Lookup("tim", "plain")
    assert machine.supply(b"tanstaaftanstaaf", genuine=True) == Proven("tim")


def test_cram_md5_never_proves_a_made_up_secret() -> None:
    machine = CramMd5Server(TIMS_STAMP)
    machine.step(None)
    machine.step(TIMS_ANSWER)
    assert machine.supply(b"tanstaaftanstaaf", genuine=False) == Disproved("tim")
    assert machine.supply(b"another", genuine=True) == Disproved("tim")


@pytest.mark.parametrize("data", [b"", b"tim", b"tim 123", b" b913a602c7eda7a495b4e6e7334d3890", b"\xff " + b"a" * 32])
def test_cram_md5_refuses(data: bytes) -> None:
    machine = CramMd5Server(TIMS_STAMP)
    machine.step(None)
    with pytest.raises(SaslError):
        machine.step(data)


def test_cram_md5_takes_no_initial_response() -> None:
    with pytest.raises(SaslError, match="initial"):
        CramMd5Server(TIMS_STAMP).step(TIMS_ANSWER)


def test_apop_example_of_rfc_1939() -> None:
    stamp = b"<1896.697170952@dbc.mtview.ca.us>"
    assert apop_digest(stamp, b"tanstaaf") == b"c4c9334bac560ecc979e58001b3e22fb"


@given(words, words)
def test_both_sides_understand_each_other(login: str, password: str) -> None:
    plain = client("PLAIN", login, password)
    assert PlainServer().step(plain.step(None)) == CheckPassword(login, password)
    assert plain.done

    prompts, answers = LoginServer(), client("login", login, password)
    event = prompts.step(answers.step(None))
    while isinstance(event, SendChallenge):
        event = prompts.step(answers.step(event.data))
    assert event == CheckPassword(login, password)
    assert answers.done

    cram, tim = CramMd5Server(TIMS_STAMP), client("CRAM-MD5", login, password)
    assert tim.step(None) is None
    cram.step(None)
    assert cram.step(tim.step(TIMS_STAMP)) == Lookup(login, "plain")
    assert cram.supply(password.encode(), genuine=True) == Proven(login)


@given(st.lists(st.none() | st.binary(max_size=60), max_size=4))
def test_garbage_gives_an_event_or_a_sasl_error(messages: list[bytes | None]) -> None:
    for machine in (PlainServer(), LoginServer(), CramMd5Server(TIMS_STAMP)):
        with contextlib.suppress(SaslError):
            for message in messages:
                assert isinstance(machine.step(message), SendChallenge | CheckPassword | Lookup | Disproved)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_client_answers_no_challenge_too_many(mechanism: str) -> None:
    machine = client(mechanism, "tim", "secret")
    while not machine.done:
        machine.step(b"x")
    with pytest.raises(SaslServerError):
        machine.step(b"x")


def test_a_client_refuses_nul_in_names_and_passwords() -> None:
    for login, password in (("a\0b", "p"), ("a", "p\0q"), ("a", "p\r\nq")):
        with pytest.raises(ValueError, match="control"):
            client("PLAIN", login, password)
    with pytest.raises(ValueError, match="NTLM"):
        client("NTLM", "a", "b")


@pytest.mark.parametrize(
    ("offered", "private", "bound", "best"),
    [
        ("PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", True, True, "SCRAM-SHA-256-PLUS"),
        ("PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", True, False, "SCRAM-SHA-256"),
        ("LOGIN PLAIN CRAM-MD5", True, False, "PLAIN"),
        ("login", True, False, "LOGIN"),
        ("LOGIN PLAIN CRAM-MD5", False, False, "CRAM-MD5"),
        ("LOGIN PLAIN", False, False, None),
        ("XOAUTH2", True, True, None),
    ],
)
def test_the_best_mechanism_is_chosen(offered: str, private: bool, bound: bool, best: str | None) -> None:
    assert choose(offered.split(), private=private, bound=bound) == best


@pytest.mark.parametrize(
    ("mechanism", "message", "apology"),
    [
        ("OAUTHBEARER", b"n,a=a=2Cb=3D,\x01host=h.test\x01port=587\x01auth=Bearer t0k\x01\x01", b"\x01"),
        ("XOAUTH2", b"user=a,b=\x01auth=Bearer t0k\x01\x01", b""),
    ],
)
def test_a_token_and_what_follows_its_refusal(mechanism: str, message: bytes, apology: bytes) -> None:
    exchange = BearerClient(mechanism, "a,b=", "t0k", host="h.test", port=587)
    assert exchange.step(None) == message
    assert exchange.done
    assert exchange.step(b'{"status":"invalid_token"}') == apology
    with pytest.raises(SaslServerError):
        exchange.step(b"again")


@pytest.mark.parametrize(("login", "token"), [("a\1b", "t"), ("a", "t\1"), ("a", "t\r\n"), ("a", "é")])
def test_no_token_brings_fields_of_its_own(login: str, token: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        BearerClient("XOAUTH2", login, token)


def test_tokens_and_external() -> None:
    assert choose_token(["plain", "xoauth2", "OAuthBearer"], private=True) == "OAUTHBEARER"
    assert choose_token(["XOAUTH2"], private=False) is None
    assert choose_token(["PLAIN"], private=True) is None
    exchange = ExternalClient()
    assert (exchange.step(None), exchange.done) == (b"", True)
    with pytest.raises(SaslServerError):
        exchange.step(b"more")
