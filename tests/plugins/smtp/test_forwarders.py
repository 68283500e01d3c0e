"""XCLIENT and XFORWARD: what is read, what a session becomes by it, and what it never becomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.session import ClientCertificate, Session, TlsInfo
from appliance.wire.smtp import GrammarError, xtext_encode
from plugins.smtp.config import SmtpConfig
from plugins.smtp.forwarders import is_trusted, origin
from plugins.smtp.protocol import SmtpServer
from plugins.smtp.protocol_forwarder import XCLIENT, XFORWARD, attributes
from tests.plugins.smtp.fake import FakeConnection, FakeCore, Turn, run_session

LETTER = b"DATA\r\n"
TEXT = b"Subject: x\r\n\r\n.\r\n"


async def facts_after(
    folder: Path, *lines: bytes, peer_ip: str = "192.0.2.7", tls: TlsInfo | None = None, role: str = "mx"
) -> tuple[Session, FakeCore]:
    """The session that a message came in by, after these lines."""
    config = SmtpConfig(xclient_networks=("192.0.2.0/24", "127.0.0.0/8", "local"), xforward_networks=("192.0.2.0/24",))
    core = FakeCore(folder, config)
    hello = b"LHLO c.test\r\n" if role == "lmtp" else b"EHLO c.test\r\n"
    sent = [*lines, hello, b"MAIL FROM:<>\r\n", b"RCPT TO:<luis@palomar.test>\r\n", LETTER, TEXT]
    connection = FakeConnection(SmtpServer(config.max_size), [Turn(line) for line in sent])
    connection.peer_ip, connection.tls = peer_ip, tls
    await run_session(core, connection, role)
    (taken,) = core.intake.taken
    return taken.session, core


async def test_a_session_is_that_of_who_is_told(tmp_path: Path) -> None:
    told = b"ADDR=IPV6:2001:db8::1 PORT=777 HELO=told.test PROTO=ESMTP DESTADDR=198.18.0.9 DESTPORT=2525"
    facts, core = await facts_after(tmp_path, b"XCLIENT " + told + b"\r\n")
    assert (facts.peer_ip, facts.peer_port) == ("2001:db8::1", 777)
    assert (facts.local_ip, facts.local_port) == ("198.18.0.9", 2525)
    assert (facts.via, facts.helo, facts.account) == ("192.0.2.7", "c.test", None)
    assert b"[IPv6:2001:db8::1]" in core.intake.taken[0].message.partition(b"\r\n\r\n")[0]
    assert "from 2001:db8::1 (c.test)" in core.trace.rows[-1][3]


@pytest.mark.parametrize(
    ("told", "peer_ip"),
    [
        (b"ADDR=[UNAVAILABLE]", "0.0.0.0"),
        (b"ADDR=[tempunavail] PORT=[unavailable]", "0.0.0.0"),
        (b"ADDR=+5BUNAVAILABLE+5D", ""),
        (b"ADDR=IPV6:::ffff:198.18.0.1", "198.18.0.1"),
        (b"ADDR=127.0.0.1", "127.0.0.1"),
        (b"ADDR=IPV6:::1", "::1"),
    ],
)
@pytest.mark.parametrize("socket", ["192.0.2.7", "127.0.0.1"])
async def test_whoever_is_told_is_never_this_machine(tmp_path: Path, told: bytes, peer_ip: str, socket: str) -> None:
    """Neither an unknown address nor one that looks like ours opens what is for this machine only."""
    facts, _ = await facts_after(tmp_path, b"XCLIENT " + told + b"\r\n", peer_ip=socket)
    assert facts.peer_ip == (peer_ip or socket)
    assert facts.loopback == (not peer_ip and socket == "127.0.0.1")


async def test_a_unix_socket_may_be_trusted_too(tmp_path: Path) -> None:
    facts, _ = await facts_after(tmp_path, b"XCLIENT ADDR=198.18.0.1\r\n", peer_ip="", role="lmtp")
    assert (facts.peer_ip, facts.via, facts.loopback) == ("198.18.0.1", "local", False)


async def test_what_the_server_has_shown_is_not_its_client_s(tmp_path: Path) -> None:
    """Its certificate and its login are its own."""
    certified = TlsInfo("TLSv1.3", "x", 256, client=ClientCertificate("00" * 32, ("ana@palomar.test",)))
    facts, _ = await facts_after(tmp_path, b"XCLIENT ADDR=198.18.0.1\r\n", tls=certified)
    assert facts.tls == TlsInfo("TLSv1.3", "x", 256)
    assert facts.account is None


async def test_a_login_that_was_told_can_be_taken_back(tmp_path: Path) -> None:
    lines = [b"XCLIENT LOGIN=ana@palomar.test\r\n", b"XCLIENT ADDR=198.18.0.1\r\n"]
    facts, _ = await facts_after(tmp_path, *lines)
    assert (facts.account, facts.login, facts.mechanism) == ("ana@palomar.test", "ana@palomar.test", "XCLIENT")
    facts, _ = await facts_after(tmp_path, *lines, b"XCLIENT LOGIN=[UNAVAILABLE]\r\n")
    assert (facts.account, facts.login, facts.mechanism) == (None, "", "")


async def test_xforward_is_noted_and_changes_nothing(tmp_path: Path) -> None:
    told = b"XFORWARD ADDR=198.18.0.1 NAME=client.test IDENT=ABC\r\n"
    facts, core = await facts_after(tmp_path, told, b"XFORWARD HELO=hello.test\r\n")
    assert (facts.peer_ip, facts.via, facts.account) == ("192.0.2.7", "", None)
    assert core.trace.rows[-1][3] == "from 192.0.2.7 (c.test), for 198.18.0.1 (hello.test), its id ABC"
    assert b"198.18.0.1" not in core.intake.taken[0].message


async def test_xforward_is_for_one_message(tmp_path: Path) -> None:
    config = SmtpConfig(xforward_networks=("192.0.2.7",))
    core = FakeCore(tmp_path, config)
    mail = [b"MAIL FROM:<>\r\n", b"RCPT TO:<luis@palomar.test>\r\n"]
    sent = [b"EHLO c.test\r\n", b"XFORWARD ADDR=198.18.0.1\r\n", *mail, LETTER, TEXT, *mail, LETTER, TEXT]
    sent += [b"XFORWARD ADDR=198.18.0.2\r\n", b"MAIL FROM:<>\r\n", b"RSET\r\n", *mail, LETTER, TEXT]
    await run_session(core, FakeConnection(SmtpServer(config.max_size), [Turn(line) for line in sent]), "mx")
    assert [", for 198.18.0.1" in row[3] for row in core.trace.rows if row[2] == "received"] == [True, False, False]


def test_what_xforward_tells() -> None:
    assert origin({}) == ""
    assert origin({"ADDR": "", "NAME": "x.test"}) == "local"
    assert origin({"ADDR": "198.18.0.1", "HELO": "", "NAME": "n.test"}) == "198.18.0.1 (n.test)"


@pytest.mark.parametrize(
    ("session", "networks", "trusted"),
    [
        (Session("s", "mx", peer_ip="192.0.2.7"), (), False),
        (Session("s", "mx", peer_ip="192.0.2.7"), ("192.0.2.0/24",), True),
        (Session("s", "mx", peer_ip="::ffff:192.0.2.7"), ("192.0.2.0/24",), True),
        (Session("s", "mx", peer_ip="198.18.0.1"), ("192.0.2.0/24", "local"), False),
        (Session("s", "mx", peer_ip="192.0.2.7", via="192.0.2.8"), ("192.0.2.0/24",), False),
        (Session("s", "mx", peer_ip="192.0.2.7", via="local"), ("192.0.2.0/24", "local"), False),
        (Session("s", "lmtp"), ("local",), True),
        (Session("s", "lmtp"), ("0.0.0.0/0",), False),
        (Session("s", "mx", peer_ip="fe80::1%eth0"), ("fe80::/10",), True),
    ],
)
def test_who_is_trusted(session: Session, networks: Sequence[str], trusted: bool) -> None:
    assert is_trusted(session, networks) is trusted


def test_the_settings_name_what_is_no_network() -> None:
    problems = SmtpConfig(xclient_networks=("mail.test",), xforward_networks=("192.0.2.1/24",)).problems()
    assert [one.setting for one in problems] == ["xclient_networks", "xforward_networks"]


@given(st.sampled_from([XCLIENT, XFORWARD]), st.text(max_size=60))
@settings(max_examples=300)
def test_whatever_is_told_is_read_or_refused(names: dict[str, object], text: str) -> None:
    for argument in (text, *(f"{name}={text}" for name in names)):
        try:
            found = attributes(argument, names)  # type: ignore[arg-type]
        except GrammarError:
            continue
        for value in found.values():
            assert value.isascii()
            assert not any(char <= " " or char == "\x7f" for char in value)


@given(st.from_regex(r"[!-~]{1,80}", fullmatch=True))
@settings(max_examples=100)
def test_xtext_is_resolved(login: str) -> None:
    absent = login.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]", "[TEMPORARY]")
    encoded = xtext_encode(login)
    if not absent and len(encoded) <= 255:
        assert attributes(f"login={encoded}", XCLIENT) == {"LOGIN": login}
