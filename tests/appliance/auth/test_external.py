"""EXTERNAL: whose login a client certificate is, and where it is offered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.auth import AuthConfig, Authenticated, Authenticator, Challenge, Refused
from appliance.auth.exchange import Outcome
from appliance.mail.session import ClientCertificate, Session, TlsInfo

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
PRINT = "ab" * 32


def session(*addresses: str, fingerprint: str = "00" * 32, certified: bool = True) -> Session:
    client = ClientCertificate(fingerprint, addresses) if certified else None
    return Session("1", "imap", peer_ip="192.0.2.9", tls=TlsInfo("TLSv1.3", "x", 256, client=client))


class Back:
    """The accounts ana and luis, and nobody's passwords."""

    def __init__(self, **certificates: str) -> None:
        self.failures: list[str] = []
        self.slept: list[float] = []
        self.auth = Authenticator(
            lambda: AuthConfig(certificates={one.replace("_", ":"): name for one, name in certificates.items()}),
            find=self.nobody,
            verify_external=self.nobody,
            secret=b"s" * 32,
            login_failed=self.note_failure,
            usable=lambda name: name in (ANA, LUIS),
            clock=lambda: 100.0,
            sleep=self.sleep,
        )

    async def nobody(self, **_: object) -> None:
        return None

    def note_failure(self, *, session: Session, login: str) -> None:
        self.failures.append(login)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def login(self, who: Session, authzid: bytes = b"") -> Outcome:
        return await self.auth.begin(who, "EXTERNAL").step(authzid)


def test_it_is_offered_only_to_who_has_shown_a_certificate() -> None:
    back = Back()
    assert back.auth.mechanisms(session(ANA))[0] == "EXTERNAL"
    assert "EXTERNAL" not in back.auth.mechanisms(session(certified=False))
    assert "EXTERNAL" not in back.auth.mechanisms(Session("1", "imap", peer_ip="127.0.0.1"))


async def test_who_has_shown_none_is_refused_the_mechanism() -> None:
    outcome = await Back().login(session(certified=False), ANA.encode())
    assert outcome == Refused("mechanism", "Unrecognized authentication mechanism")


async def test_without_a_response_it_is_asked_for() -> None:
    exchange = Back().auth.begin(session(ANA), "EXTERNAL")
    assert await exchange.step(None) == Challenge(b"")
    assert await exchange.step(b"") == Authenticated(ANA, ANA)


@pytest.mark.parametrize(
    ("addresses", "authzid", "account"),
    [
        ((ANA,), "", ANA),
        ((ANA,), ANA, ANA),
        (("Ana@PALOMAR.test",), "ANA@palomar.test", ANA),
        (("private@elsewhere.test", ANA), "", ANA),  # only one of them is an account
        ((ANA, LUIS), LUIS, LUIS),
        ((ANA, LUIS), "", ""),  # which of them?
        ((ANA,), LUIS, ""),
        ((ANA,), "root@palomar.test", ""),
        (("root@palomar.test",), "", ""),
        (("",), "", ""),
        ((), "", ""),
        ((), ANA, ""),
        ((f"{ANA}\0.evil.example",), "", ""),
    ],
)
async def test_whose_login_it_is(addresses: tuple[str, ...], authzid: str, account: str) -> None:
    back = Back()
    outcome = await back.login(session(*addresses), authzid.encode())
    if account:
        assert outcome == Authenticated(account, account)
        assert back.failures == []
    else:
        assert outcome == Refused("credentials", "Authentication failed")
        assert (back.failures, back.slept) == ([""], [2.0])


async def test_a_fingerprint_decides_before_addresses() -> None:
    back = Back(**{"_".join([PRINT[:2].upper()] * 32): LUIS})
    who = session(ANA, fingerprint=PRINT)
    assert await back.login(who) == Authenticated(LUIS, LUIS)
    assert isinstance(await back.login(who, ANA.encode()), Refused)
    assert await back.login(session(ANA)) == Authenticated(ANA, ANA)


@pytest.mark.parametrize("authzid", [b"ana@palomar.test\0", b"\xff", b"a" * 513])
async def test_what_is_no_name_is_malformed(authzid: bytes) -> None:
    outcome = await Back().login(session(ANA), authzid)
    assert isinstance(outcome, Refused)
    assert outcome.cause == "malformed"


@given(st.binary(max_size=40))
@settings(max_examples=100)
def test_no_name_is_another_s(authzid: bytes) -> None:
    import asyncio

    outcome = asyncio.run(Back().login(session(ANA), authzid))
    assert isinstance(outcome, Refused) or outcome == Authenticated(ANA, ANA)


def test_the_settings_name_a_bad_fingerprint() -> None:
    (problem,) = AuthConfig(certificates={"1234": ANA}).problems()
    assert problem.setting == "certificates.1234"
    assert "openssl x509" in problem.remedy
