"""Logins by tokens through the Authenticator: what is answered, counted and logged."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.auth import AuthConfig, Authenticated, Authenticator, Challenge, Refused
from appliance.auth.exchange import Outcome
from appliance.https import Answer, HttpsError, Request
from appliance.mail.session import Session, TlsInfo
from plugins.oauth.config import Issuer as Config
from plugins.oauth.config import OAuthConfig
from plugins.oauth.mechanism import Checker, OAuth
from tests.plugins.oauth.issuer import ANA, AUDIENCE, ISSUER, NOW, Issuer, oauthbearer, xoauth2

SIGNER = Issuer()
LUIS = "luis@palomar.test"


OTHER = Config(issuer="https://other.example", audience=("other",), scopes=("o",))


async def unreachable(request: Request) -> Answer:
    raise HttpsError(f"{request.host}: no answer within 10 s")


class Office:
    """Three accounts, one of them disabled, and an issuer's keys in a file."""

    def __init__(self, folder: Path, **named: object) -> None:
        file = folder / "keys.json"
        file.write_bytes(SIGNER.key_set())
        self.config = Config(issuer=ISSUER, audience=(AUDIENCE,), keys_file=file, **named)  # type: ignore[arg-type]
        enabled = {ANA: True, LUIS: True, "gone@palomar.test": False}
        core: Any = SimpleNamespace(
            settings={OAuthConfig: OAuthConfig(issuers={"other": OTHER, "office": self.config})},
            store=SimpleNamespace(directory=SimpleNamespace(usable=lambda name: enabled.get(name, False))),
            now=lambda: float(NOW),
            time_state="synced",
        )
        self.core = core
        self.slept: list[float] = []
        self.failures: list[str] = []
        self.auth = Authenticator(
            lambda: AuthConfig(),
            find=self.nobody,
            verify_external=self.nobody,
            secret=b"s" * 32,
            login_failed=self.note_failure,
            clock=lambda: 100.0,
            sleep=self.sleep,
        )
        self.plugin = OAuth(core, Checker(core, unreachable, lambda: 0.0))
        for mechanism in self.plugin.sasl_mechanisms(core):
            self.auth.add_mechanism(mechanism)

    async def nobody(self, **_: object) -> None:
        return None

    def note_failure(self, *, session: Session, login: str) -> None:
        self.failures.append(login)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def login(self, message: bytes, name: str = "OAUTHBEARER") -> Outcome:
        return await self.auth.begin(session(), name).step(message)


def session() -> Session:
    return Session("1", "imap", peer_ip="192.0.2.9", tls=TlsInfo("TLSv1.3", "x", 256))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_both_are_offered_where_logins_are(office: Office) -> None:
    assert office.auth.mechanisms(session())[-4:-2] == ("OAUTHBEARER", "XOAUTH2")
    assert office.auth.mechanisms(Session("1", "imap", peer_ip="192.0.2.9")) == ()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_is_a_login(office: Office, algorithm: str) -> None:
    token = SIGNER.token(algorithm)
    assert await office.login(oauthbearer(token)) == Authenticated(ANA, ANA)
    assert await office.login(oauthbearer(token, "Ana@Palomar.test")) == Authenticated(ANA, ANA)
    assert await office.login(xoauth2(token), "XOAUTH2") == Authenticated(ANA, ANA)
    assert office.slept == office.failures == []


async def test_without_an_initial_response_it_is_asked_for(office: Office) -> None:
    for name, message in (("OAUTHBEARER", oauthbearer), ("XOAUTH2", xoauth2)):
        exchange = office.auth.begin(session(), name)
        assert await exchange.step(None) == Challenge(b"")
        assert await exchange.step(message(SIGNER.token())) == Authenticated(ANA, ANA)


BAD: dict[str, tuple[str, str, str]] = {
    "ended": (SIGNER.token(exp=NOW - 100), "", "invalid_token"),
    "another issuer": (SIGNER.token(iss="https://evil.example"), "", "invalid_token"),
    "another service": (SIGNER.token(aud="calendar"), "", "invalid_token"),
    "scope": (SIGNER.token(scope="read"), "", "insufficient_scope"),
    "nobody": (SIGNER.token(email="nobody@palomar.test"), "", "invalid_token"),
    "disabled": (SIGNER.token(email="gone@palomar.test"), "", "invalid_token"),
    "no name": (SIGNER.token(email="\0"), "", "invalid_token"),
    "another account": (SIGNER.token(), LUIS, "invalid_token"),
    "hmac": (SIGNER.token("HS256"), "", "invalid_token"),
    "none": (SIGNER.token("none"), "", "invalid_token"),
    "hmac by the public key": (SIGNER.token("HS256", head={"kid": "RS256-1"}), "", "invalid_token"),
    "another hash": (SIGNER.token("RS512", head={"kid": "RS256-1"}), "", "invalid_token"),
    "another key": (Issuer(2).token(head={"kid": "RS256-1"}), "", "invalid_token"),
    "opaque": ("opaque", "", "invalid_token"),
    "too long": ("a" * 9000, "", "invalid_token"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_no_login_is_explained_and_counted(case: str, tmp_path: Path) -> None:
    token, authzid, status = BAD[case]
    office = Office(tmp_path, scopes=("mail",))
    exchange = office.auth.begin(session(), "OAUTHBEARER")
    outcome = await exchange.step(oauthbearer(token, authzid))
    assert isinstance(outcome, Challenge)
    where = "https://other.example/.well-known/openid-configuration"
    told = {"status": status, "scope": "o", "openid-configuration": where}
    assert json.loads(outcome.data) == told
    assert (office.failures, office.slept) == ([""], [2.0])  # before the client could leave
    assert await exchange.step(b"\x01") == Refused("credentials", "Authentication failed")
    assert office.failures == [""]


async def test_nothing_makes_a_lost_exchange_good(office: Office) -> None:
    exchange = office.auth.begin(session(), "OAUTHBEARER")
    await exchange.step(oauthbearer(SIGNER.token(exp=1)))
    assert isinstance(await exchange.step(oauthbearer(SIGNER.token())), Refused)


async def test_who_asks_without_a_token_hears_where_to_get_one(office: Office) -> None:
    outcome = await office.login(b"n,,\x01auth=\x01\x01")
    assert isinstance(outcome, Challenge)
    assert json.loads(outcome.data)["openid-configuration"].startswith(OTHER.issuer)


async def test_bad_grammar_is_malformed(office: Office) -> None:
    for name in ("OAUTHBEARER", "XOAUTH2"):
        outcome = await office.login(b"\0ana\0secret", name)
        assert isinstance(outcome, Refused)
        assert outcome.cause == "malformed"


async def test_claims_that_are_no_account_s_name(tmp_path: Path) -> None:
    named = {"claim": "sub", "domain": "palomar.test", "accounts": {"u-77": LUIS}}
    office = Office(tmp_path, **named)
    assert await office.login(oauthbearer(SIGNER.token(sub="ana"))) == Authenticated(ANA, ANA)
    assert await office.login(oauthbearer(SIGNER.token(sub="u-77"))) == Authenticated(LUIS, LUIS)
    assert isinstance(await office.login(oauthbearer(SIGNER.token(sub="u-78"))), Challenge)


async def test_no_keys_or_no_time_is_temporary(office: Office) -> None:
    office.core.time_state = "unset"
    outcome = await office.login(oauthbearer(SIGNER.token()))
    assert isinstance(outcome, Refused)
    assert outcome.temporary
    office.core.time_state = "synced"
    assert office.config.keys_file is not None
    office.config.keys_file.unlink()
    outcome = await office.login(oauthbearer(SIGNER.token()))
    assert outcome == Refused("temporary", "Tokens cannot be checked now, try again later")
    ((label, text, level),) = office.plugin.status(office.core)
    assert (label, level) == ("OAuth", "error")
    assert "No such file" in text
    assert office.failures == []


async def test_the_log_tells_why_and_holds_no_token(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    token = SIGNER.token(exp=1)
    await office.login(oauthbearer(token))
    await office.login(oauthbearer(SIGNER.token()))
    assert "no login by OAUTHBEARER: the token has ended; peer 192.0.2.9" in caplog.text
    assert f"login of {ANA} by OAUTHBEARER; peer 192.0.2.9" in caplog.text
    assert token[:40] not in caplog.text


async def test_another_issuer_s_tokens_go_by_its_own_rules(office: Office) -> None:
    """Its keys are not to be had; that ours has signed the token is nothing to it."""
    outcome = await office.login(oauthbearer(SIGNER.token(iss=OTHER.issuer, aud="other", scope="o")))
    assert outcome == Refused("temporary", "Tokens cannot be checked now, try again later")
    assert await office.login(oauthbearer(SIGNER.token())) == Authenticated(ANA, ANA)


def test_without_an_issuer_nothing_is_offered(office: Office) -> None:
    office.core.settings[OAuthConfig] = OAuthConfig()
    assert office.plugin.sasl_mechanisms(office.core) == []
    ((_, text, level),) = office.plugin.status(office.core)
    assert (level, "no issuer" in text) == ("warning", True)
