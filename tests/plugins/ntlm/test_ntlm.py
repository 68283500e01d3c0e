"""NTLM: the documented example, pyspnego's own client, hostile messages, and logins through the Authenticator."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import spnego
from hypothesis import given, settings
from hypothesis import strategies as st
from spnego._ntlm_raw.crypto import compute_response_v1, hmac_md5, ntowfv1, ntowfv2
from spnego._ntlm_raw.messages import Authenticate, Challenge, Negotiate, NegotiateFlags

from appliance.auth import AuthConfig, Authenticated, Authenticator, Credential, Refused
from appliance.auth import Challenge as Sent
from appliance.auth.exchange import Outcome
from appliance.config import CoreConfig
from appliance.mail.session import Session, TlsInfo
from appliance.wire.sasl.errors import SaslError
from appliance.wire.sasl.server import Disproved, Event, Lookup, Proven, SendChallenge
from plugins.ntlm.config import NtlmConfig
from plugins.ntlm.mechanism import Ntlm
from plugins.ntlm.protocol_ntlm import NtlmServer

ANA, PASSWORD = "ana@palomar.test", "correct hörse"
NONCE = bytes.fromhex("0123456789abcdef")
UNICODE = NegotiateFlags.unicode | NegotiateFlags.ntlm
NEGOTIATE = bytes(Negotiate(UNICODE).pack())
# MS-NLMP section 4.2.4: user User, domain Domain, password Password
PROOF = bytes.fromhex("68cd0ab851e51c96aabc927bebef6a1c")
BLOB = bytes.fromhex(
    "01010000000000000000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e00"
    "01000c005300650072007600650072000000000000000000"
)


def server(domain: str = "palomar.test") -> NtlmServer:
    return NtlmServer(NONCE, host="mail.palomar.test", domain=domain)


def authenticate(response: bytes, *, user: str = "User", domain: str = "Domain", flags: int = UNICODE) -> bytes:
    made = Authenticate(flags, nt_challenge_response=response, username=user, domain_name=domain, encoding="ascii")
    return bytes(made.pack())


def asked(message: bytes) -> tuple[NtlmServer, Event]:
    machine = server()
    machine.step(NEGOTIATE)
    return machine, machine.step(message)


def test_the_documented_example() -> None:
    machine, event = asked(authenticate(PROOF + BLOB))
    assert event == Lookup("User@palomar.test", "plain")
    assert machine.supply(b"Password", genuine=True) == Proven("User@palomar.test")
    assert machine.supply(b"Password", genuine=False) == Disproved("User@palomar.test")
    assert machine.supply(b"password", genuine=True) == Disproved("User@palomar.test")


@pytest.mark.parametrize(
    "message",
    [
        authenticate(PROOF + BLOB[:-1]),
        authenticate(PROOF + BLOB, domain="domain"),
        authenticate(PROOF[::-1] + BLOB),
        authenticate(PROOF),
        authenticate(b""),
        authenticate(bytes(24)),  # the first version's length
    ],
    ids=["cut", "domain", "proof", "no blob", "nothing", "first version"],
)
def test_what_proves_nothing(message: bytes) -> None:
    machine, _ = asked(message)
    assert machine.supply(b"Password", genuine=True) == Disproved("User@palomar.test")


def test_a_proof_needs_what_it_is_a_proof_of() -> None:
    """Of too little, or of something that is no NTLMv2, it would be one of anybody who has seen it elsewhere."""
    for blob in (b"", BLOB[:20], b"\2\1" + BLOB[2:]):
        hashed = ntowfv2("User", ntowfv1("Password"), "Domain")
        machine, _ = asked(authenticate(hmac_md5(hashed, NONCE + blob) + blob))
        assert machine.supply(b"Password", genuine=True) == Disproved("User@palomar.test")


def test_the_first_version_is_not_believed_even_when_it_is_right() -> None:
    response, _, _ = compute_response_v1(UNICODE, ntowfv1("Password"), bytes(16), NONCE, bytes(8))
    machine, _ = asked(authenticate(response))
    assert machine.supply(b"Password", genuine=True) == Disproved("User@palomar.test")


def test_names() -> None:
    for user, domain, login in (
        ("ana", "", "ana@palomar.test"),
        ("ana", "OFFICE", "ana@palomar.test"),
        (ANA, "", ANA),
        ("josé", "OFFICE", "josé@palomar.test"),
    ):
        assert asked(authenticate(PROOF + BLOB, user=user, domain=domain))[1] == Lookup(login, "plain")


def test_the_challenge() -> None:
    machine = server()
    assert machine.step(None) == SendChallenge(b"")
    sent = machine.step(NEGOTIATE)
    assert isinstance(sent, SendChallenge)
    read = Challenge.unpack(sent.data)
    assert (read.server_challenge, read.target_name) == (NONCE, "MAIL")
    assert read.flags & NegotiateFlags.target_info
    assert read.target_info is not None
    assert "mail.palomar.test" in read.target_info.values()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"NTLMSSP\0",
        NEGOTIATE[:31],
        NEGOTIATE[:8] + struct.pack("<I", 3) + NEGOTIATE[12:],
        b"ntlmssp\0" + NEGOTIATE[8:],
        NEGOTIATE[:16] + struct.pack("<HHI", 9, 9, 5000) + NEGOTIATE[24:],
        NEGOTIATE[:16] + struct.pack("<HHI", 9, 9, 2**32 - 1) + NEGOTIATE[24:],
        NEGOTIATE[:16] + struct.pack("<HHI", 9, 9, 0) + NEGOTIATE[24:],
        NEGOTIATE + bytes(1024),
    ],
)
def test_what_is_no_first_message(message: bytes) -> None:
    machine = server()
    machine.step(None)
    if not message:
        assert machine.step(message) == SendChallenge(b"")  # a client that waits for more than the empty line
        return
    with pytest.raises(SaslError):
        machine.step(message)


GOOD = authenticate(PROOF + BLOB)


@pytest.mark.parametrize(
    "message",
    [
        GOOD[:63],
        NEGOTIATE,
        GOOD + bytes(4096),
        GOOD[:36] + struct.pack("<HHI", 600, 600, 64) + GOOD[44:],
        GOOD[:36] + struct.pack("<HHI", 8, 8, len(GOOD) - 7) + GOOD[44:],
        GOOD[:36] + struct.pack("<HHI", 3, 3, 64) + GOOD[44:],
        GOOD[:20] + struct.pack("<HHI", 65535, 0, 64) + GOOD[28:],
        authenticate(PROOF + BLOB, user=""),
        authenticate(PROOF + BLOB, user="a\0b"),
        authenticate(PROOF + BLOB, user="a" * 257),
    ],
)
def test_what_is_no_last_message(message: bytes) -> None:
    with pytest.raises(SaslError):
        asked(message)


@given(st.binary(max_size=120), st.integers(0, 200), st.binary(max_size=12))
@settings(max_examples=300)
def test_whatever_comes_only_a_sasl_error_comes_of_it(data: bytes, place: int, piece: bytes) -> None:
    changed = GOOD[:place] + piece + GOOD[place + len(piece) :]
    for first, second in ((data, b""), (NEGOTIATE, data), (NEGOTIATE, changed), (b"NTLMSSP\0\1\0\0\0" + data, changed)):
        machine = server()
        try:
            machine.step(first)
            event = machine.step(second)
        except SaslError:
            continue
        if isinstance(event, Lookup):
            concluded = machine.supply(b"Password", genuine=True)
            assert isinstance(concluded, Disproved) or PROOF + BLOB in second


class Office:
    """Two accounts, of which one has opted in."""

    def __init__(self, *, weak: bool = True) -> None:
        self.failures: list[str] = []
        core: Any = SimpleNamespace(
            settings={
                CoreConfig: CoreConfig(hostname="mail.palomar.test"),
                NtlmConfig: NtlmConfig(domain="palomar.test"),
            }
        )
        self.auth = Authenticator(
            lambda: AuthConfig(failure_delay=0),
            find=self.find,
            verify_external=self.nobody,
            secret=b"s" * 32,
            login_failed=self.note_failure,
            weak_in_use=lambda: weak,
        )
        self.auth.add_mechanism(Ntlm(core))

    async def find(self, *, login: str) -> Sequence[Credential] | None:
        return [Credential("plain", ANA, ANA, PASSWORD.encode())] if login == ANA else None

    async def nobody(self, **_: object) -> None:
        return None

    def note_failure(self, *, session: Session, login: str) -> None:
        self.failures.append(login)

    async def login(self, user: str, password: str) -> Outcome:
        """Log in with pyspnego's client."""
        client = spnego.client(user, password, protocol="ntlm", hostname="mail.palomar.test", service="smtp")
        exchange = self.auth.begin(session(), "ntlm")
        outcome = await exchange.step(client.step(None))
        while isinstance(outcome, Sent):
            outcome = await exchange.step(client.step(outcome.data))
        return outcome


def session() -> Session:
    return Session("1", "imap", peer_ip="192.0.2.9", tls=TlsInfo("TLSv1.3", "x", 256))


async def test_a_real_client_logs_in() -> None:
    office = Office()
    for user in (ANA, "ana", "OFFICE\\ana", "Ana@Palomar.test"):
        assert await office.login(user, PASSWORD) == Authenticated(ANA, ANA), user
    assert office.failures == []


@pytest.mark.parametrize(("user", "password"), [(ANA, "wrong"), ("luis", PASSWORD), ("luis@elsewhere.test", "x")])
async def test_what_is_wrong_is_counted_by_name(user: str, password: str) -> None:
    office = Office()
    assert await office.login(user, password) == Refused("credentials", "Authentication failed")
    assert office.failures == [user if "@" in user else f"{user}@palomar.test"]


def test_it_is_offered_where_somebody_has_opted_in() -> None:
    assert "NTLM" in Office().auth.mechanisms(session())
    assert "NTLM" not in Office(weak=False).auth.mechanisms(session())
    assert Office().auth.mechanisms(Session("1", "imap", peer_ip="192.0.2.9")) == ()


def test_its_name_is_taken_once() -> None:
    office = Office()
    with pytest.raises(ValueError, match="NTLM already"):
        office.auth.add_mechanism(Ntlm(SimpleNamespace()))  # type: ignore[arg-type]
