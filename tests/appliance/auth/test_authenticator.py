"""Logins through the Authenticator: every mechanism, every refusal, and what a stranger can tell apart."""

import asyncio
import base64
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.auth import (
    AuthConfig,
    Authenticated,
    Authenticator,
    Challenge,
    Credential,
    Exchange,
    Refused,
    SaslConversation,
    TemporaryAuthError,
    installation_secret,
    make_credentials,
)
from appliance.auth.exchange import Outcome
from appliance.auth.passwords import PasswordPool
from appliance.errors import StoreError
from appliance.mail.session import Session, TlsInfo
from appliance.wire.sasl.client import client
from appliance.wire.sasl.errors import SaslError
from appliance.wire.sasl.server import apop_digest

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
PHONE = "ana+phone@palomar.test"
STAMP = b"<1.2@palomar>"
STRONG = [Credential(kind, ANA, ANA, data) for kind, data in make_credentials("palomar")]
APPLICATION = [Credential(kind, ANA, PHONE, data, "phone") for kind, data in make_credentials("kestrel")]
WEAK = [Credential(kind, LUIS, LUIS, data) for kind, data in make_credentials("palomar", weak=True)]
WITHOUT_TLS = ("SCRAM-SHA-256", "PLAIN", "LOGIN")


class Back:
    """An account back end and a clock."""

    def __init__(self, **settings: object) -> None:
        self.config = AuthConfig(**{"channel_binding": True, **settings})
        self.accounts: dict[str, Sequence[Credential]] = {ANA: STRONG, PHONE: APPLICATION, LUIS: WEAK}
        self.external: dict[tuple[str, str], str] = {}
        self.down = False
        self.now = 100.0
        self.slept: list[float] = []
        self.failures: list[str] = []
        self.auth = Authenticator(
            lambda: self.config,
            find=self.find,
            verify_external=self.verify,
            secret=b"s" * 32,
            login_failed=self.note_failure,
            weak_in_use=lambda: any(one.kind == "plain" for found in self.accounts.values() for one in found),
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    async def find(self, *, login: str) -> Sequence[Credential] | None:
        if self.down:
            raise StoreError("the store is gone")
        return self.accounts.get(login)

    async def verify(self, *, login: str, password: str) -> str | None:
        if self.down:
            raise OSError("no route to the directory")
        return self.external.get((login, password))

    def note_failure(self, *, session: Session, login: str) -> None:
        self.failures.append(login)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def back() -> Back:
    return Back()


def local() -> Session:
    return Session("1", "imap", peer_ip="127.0.0.1")


def remote(tls: bool = True, peer_ip: str = "192.0.2.9") -> Session:
    info = TlsInfo("TLSv1.3", "x", 256, binding=b"hash of our certificate") if tls else None
    return Session("2", "imap", peer_ip=peer_ip, tls=info)


async def converse(back: Back, session: Session, name: str, login: str, password: str, **options: object) -> Outcome:
    """Log in with our own client machine, over base64 lines."""
    exchange = back.auth.begin(session, name)
    machine = client(name, login, password, nonce=b"cnonce", **options)
    first = machine.step(None)
    outcome = await exchange.respond(None if first is None else base64.b64encode(first) or b"=", initial=True)
    while isinstance(outcome, Challenge):
        answer = machine.step(base64.b64decode(outcome.line))
        outcome = await exchange.respond(base64.b64encode(answer or b""))
    assert machine.done or not isinstance(outcome, Authenticated)
    return outcome


# ── what is offered ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_offered_without_tls_off_this_machine(back: Back) -> None:
    assert back.auth.mechanisms(remote(tls=False)) == ()
    assert not back.auth.allowed(remote(tls=False))
    assert back.auth.allowed(local())
    assert not Back(tls_on_loopback=True).auth.allowed(local())


def test_plus_is_offered_only_where_there_is_a_binding_and_the_setting_says_so() -> None:
    assert not any(name.endswith("-PLUS") for name in Back(channel_binding=False).auth.mechanisms(remote()))
    back = Back()
    del back.accounts[LUIS]
    assert back.auth.mechanisms(local()) == WITHOUT_TLS
    assert back.auth.mechanisms(remote()) == ("SCRAM-SHA-256-PLUS", *WITHOUT_TLS)


@pytest.mark.parametrize(
    ("setting", "opted_in", "offered"),
    [("opted-in", False, False), ("opted-in", True, True), ("always", False, True), ("never", True, False)],
)
def test_when_weak_mechanisms_are_offered(setting: str, opted_in: bool, offered: bool) -> None:
    back = Back(weak_mechanisms=setting)
    if not opted_in:
        del back.accounts[LUIS]
    assert back.auth.weak_offered() is offered
    assert ("CRAM-MD5" in back.auth.mechanisms(local())) is offered
    assert ("SCRAM-SHA-1-PLUS" in back.auth.mechanisms(remote())) is offered


# ── logging in ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
async def test_strong_mechanisms(back: Back, name: str) -> None:
    options = {"binding": b"hash of our certificate", "plus_offered": True} if name.endswith("-PLUS") else {}
    assert await converse(back, remote(), name, ANA, "palomar", **options) == Authenticated(ANA, ANA)
    assert await converse(back, remote(), name, PHONE.upper(), "kestrel", **options) == Authenticated(ANA, PHONE)
    for login, password in ((ANA, "wrong"), ("nobody@palomar.test", "palomar"), (PHONE, "palomar")):
        outcome = await converse(back, remote(), name, login, password, **options)
        assert outcome == Refused("credentials", "Authentication failed")


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "CRAM-MD5"])
async def test_weak_mechanisms_work_only_for_who_opted_in(back: Back, name: str) -> None:
    assert await converse(back, remote(), name, LUIS, "palomar") == Authenticated(LUIS, LUIS)
    for login, password in ((LUIS, "wrong"), (ANA, "palomar"), ("nobody@palomar.test", "palomar")):
        outcome = await converse(back, remote(), name, login, password)
        assert outcome == Refused("credentials", "Authentication failed")


async def test_login_with_a_name_and_a_password(back: Back) -> None:
    assert await back.auth.login(local(), "Ana@Palomar.test", "palomar") == ANA
    assert await back.auth.login(local(), PHONE, "kestrel") == ANA
    for login, password in (
        (ANA, "Palomar"),
        (ANA, ""),
        ("", ""),
        ("\0", "palomar"),
        (ANA, "x" * 5000),
        (ANA, "\ud800"),
    ):
        assert await back.auth.login(local(), login, password) is None
    assert len(back.failures) == 6


async def test_apop(back: Back) -> None:
    right = apop_digest(STAMP, b"palomar")
    assert await back.auth.apop(local(), LUIS, right.upper(), STAMP) == LUIS
    for login, digest in ((LUIS, apop_digest(STAMP, b"x")), (ANA, right), ("nobody", right), (LUIS, b"")):
        assert await back.auth.apop(local(), login, digest, STAMP) is None
    assert len(back.failures) == 4
    assert await Back(weak_mechanisms="never").auth.apop(local(), LUIS, right, STAMP) is None


async def test_no_password_is_checked_in_clear_from_elsewhere(back: Back) -> None:
    assert await back.auth.login(remote(tls=False), ANA, "palomar") is None
    assert await back.auth.apop(remote(tls=False), LUIS, apop_digest(STAMP, b"palomar"), STAMP) is None
    outcome = await back.auth.begin(remote(tls=False), "PLAIN").step(b"\0ana@palomar.test\0palomar")
    assert outcome == Refused("privacy", "Encryption is required for authentication")


async def test_external_back_ends_are_asked_for_unknown_names_only(back: Back) -> None:
    back.external = {("sam@other.test", "s3cret"): "sam", (ANA, "s3cret"): "sam"}
    assert await back.auth.login(local(), "sam@other.test", "s3cret") == "sam"
    assert await back.auth.login(local(), ANA, "s3cret") is None


async def test_one_may_only_act_as_oneself(back: Back) -> None:
    for authzid, good in (("", True), (ANA, True), (PHONE.upper(), True), (LUIS, False), ("\x01", False)):
        exchange = back.auth.begin(local(), "PLAIN")
        message = f"{authzid}\0{PHONE}\0kestrel".encode()
        assert isinstance(await exchange.step(message), Authenticated) is good


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "cause"), [(b"*", "aborted"), (b"!", "malformed"), (b"", "malformed"), (b"A" * 30_000, "malformed")]
)
async def test_bad_lines(back: Back, line: bytes, cause: str) -> None:
    exchange = back.auth.begin(local(), "PLAIN")
    assert await exchange.respond(None) == Challenge(b"")
    outcome = await exchange.respond(line)
    assert isinstance(outcome, Refused)
    assert outcome.cause == cause
    assert outcome.text
    with pytest.raises(RuntimeError, match="over"):
        await exchange.step(b"")


async def test_unknown_mechanisms(back: Back) -> None:
    del back.accounts[LUIS]
    for name in ("GSSAPI", "", "SCRAM-SHA-256-PLUS", "CRAM-MD5"):
        outcome = await back.auth.begin(local(), name).respond(None)
        assert isinstance(outcome, Refused)
        assert outcome.cause == "mechanism"


async def test_a_back_end_that_is_down_is_temporary_and_never_a_yes(back: Back) -> None:
    back.down = True
    for name in ("PLAIN", "SCRAM-SHA-256", "CRAM-MD5"):
        outcome = await converse(back, local(), name, ANA, "palomar")
        assert isinstance(outcome, Refused)
        assert outcome.temporary
    with pytest.raises(TemporaryAuthError):
        await back.auth.login(local(), ANA, "palomar")
    with pytest.raises(TemporaryAuthError):
        await back.auth.apop(local(), LUIS, b"", STAMP)
    assert back.failures == []


# ── what a stranger can tell apart ───────────────────────────────────────────────────────────────────────────────────


async def test_known_and_unknown_names_answer_after_the_same_time(back: Back) -> None:
    for peer, login in (("192.0.2.1", ANA), ("192.0.2.2", "nobody@palomar.test"), ("192.0.2.3", "\0")):
        assert await back.auth.login(remote(peer_ip=peer), login, "wrong") is None
        assert await converse(back, remote(peer_ip=peer), "SCRAM-SHA-256", login.strip("\0") or "x", "wrong")
    assert back.slept == [2.0, 4.0] * 3


async def test_the_delay_counts_from_the_start(back: Back) -> None:
    times = itertools.count(100, 0.75)
    auth = Authenticator(
        AuthConfig,
        find=back.find,
        verify_external=back.verify,
        secret=b"s",
        clock=lambda: next(times),
        sleep=back.sleep,
    )
    assert await auth.login(local(), ANA, "wrong") is None
    assert back.slept == [2.0 - 2 * 0.75]


async def test_a_scram_salt_is_stable_for_names_nobody_has(back: Back) -> None:
    async def challenge(login: str, back: Back = back) -> bytes:
        exchange = back.auth.begin(remote(), "SCRAM-SHA-256")
        outcome = await exchange.step(b"n,,n=%b,r=cnonce" % login.encode())
        assert isinstance(outcome, Challenge)
        return re.sub(rb"r=[^,]+", b"", outcome.data)

    fake = await challenge("nobody@palomar.test")
    assert fake == await challenge("Nobody@palomar.test") == await challenge("nobody@palomar.test", Back())
    assert fake != await challenge("other@palomar.test")
    real = await challenge(ANA)
    assert len(fake) == len(real)
    assert fake.rpartition(b",")[2] == real.rpartition(b",")[2]  # the iteration count


# ── the brakes ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_too_many_failures_hold_a_peer_back_even_with_the_right_password() -> None:
    back = Back(peer_failures=3)
    for n in range(3):
        assert await back.auth.login(remote(), ANA, f"guess {n}") is None
    assert back.slept == [2.0, 4.0, 8.0]
    with pytest.raises(TemporaryAuthError, match="Too many"):
        await back.auth.login(remote(), ANA, "palomar")
    outcome = await converse(back, remote(), "SCRAM-SHA-256", ANA, "palomar")
    assert isinstance(outcome, Refused)
    assert outcome.temporary
    assert back.slept[3:] == [16.0, 16.0]
    back.now += 600
    assert await back.auth.login(remote(), ANA, "palomar") == ANA


async def test_the_pool_turns_away_what_it_cannot_queue() -> None:
    pool = PasswordPool(threads=1, max_waiting=1)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    taken = [
        asyncio.create_task(pool.run(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()))
        for _ in range(2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(TemporaryAuthError, match="at once"):
        await pool.run(lambda: None)
    gate.set()
    assert await asyncio.gather(*taken) == [True, True]
    assert await pool.run(lambda: 7) == 7
    pool.close()


async def test_a_place_is_given_back_though_nobody_waits_for_it_any_more() -> None:
    pool = PasswordPool(threads=1, max_waiting=0)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    def hash_slowly() -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    gone = asyncio.create_task(pool.run(hash_slowly))
    await started.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(TemporaryAuthError):
        await pool.run(lambda: None)
    gate.set()
    while pool._free < 1:
        await asyncio.sleep(0)
    assert await pool.run(lambda: 7) == 7
    pool.close()


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Token:
    """A mechanism as a plugin brings it."""

    name = "X-TOKEN"

    def begin(self, session: Session) -> SaslConversation:
        return self

    async def step(self, data: bytes | None) -> Outcome:
        if data is None:
            return Challenge(b"token?")
        if data == b"":
            raise SaslError("no token")
        return Authenticated(ANA, ANA) if data == b"let me in" else Refused("credentials", "Authentication failed")


async def test_mechanisms_of_plugins(back: Back) -> None:
    back.auth.add_mechanism(Token())
    assert "X-TOKEN" in back.auth.mechanisms(remote())
    assert "X-TOKEN" not in back.auth.mechanisms(remote(tls=False))

    async def outcome(data: bytes) -> Outcome:
        exchange: Exchange = back.auth.begin(remote(), "x-token")
        assert await exchange.step(None) == Challenge(b"token?")
        return await exchange.step(data)

    assert await outcome(b"let me in") == Authenticated(ANA, ANA)
    assert await outcome(b"") == Refused("malformed", "no token")
    assert await outcome(b"please") == Refused("credentials", "Authentication failed")
    assert back.slept == [2.0]
    for taken in ("X-TOKEN", "PLAIN"):
        token = Token()
        token.name = taken
        with pytest.raises(ValueError, match="already"):
            back.auth.add_mechanism(token)


async def test_new_credentials_are_made_off_the_loop(back: Back) -> None:
    made = await back.auth.new_credentials("kestrel")
    back.accounts[ANA] = [Credential(kind, ANA, ANA, data) for kind, data in made]
    assert await back.auth.login(local(), ANA, "kestrel") == ANA
    with pytest.raises(ValueError, match="empty"):
        await back.auth.new_credentials("")
    back.auth.close()


def test_the_installation_secret_is_made_once(tmp_path: Path) -> None:
    made = installation_secret(tmp_path)
    assert len(made) == 32
    assert installation_secret(tmp_path) == made
    assert (tmp_path / "auth.secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "auth.secret").write_bytes(b"short")
    assert installation_secret(tmp_path) != b"short"


@pytest.mark.parametrize(
    "settings",
    [{"failure_delay": -1}, {"failure_delay": 31}, {"peer_failures": 0}, {"account_failures": 0}, {"window": 0}],
)
def test_settings_are_checked(settings: dict[str, float]) -> None:
    assert [problem.setting for problem in AuthConfig(**settings).problems()] == list(settings)  # type: ignore[arg-type]


async def test_passwords_and_mistyped_names_stay_out_of_the_log(back: Back, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await back.auth.login(local(), "hunter2", "correct horse")
    await back.auth.login(local(), ANA, "correct horse")
    assert ANA in caplog.text
    assert "hunter2" not in caplog.text
    assert "correct horse" not in caplog.text
