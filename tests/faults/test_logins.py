"""Logins: no password crosses a network in clear, and nobody learns who has an account here."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.wire.sasl.client import client
from tests.e2e.appliance_process import ACCOUNTS, PASSWORD
from tests.faults.addresses import OUTSIDE
from tests.faults.namespace import bring_up, bring_up_v6, in_namespaces
from tests.faults.peer import GREETINGS, PORTS, Peer, Port, greeted, refused
from tests.faults.target import Target

ANA = ACCOUNTS[0]
ELSEWHERE = ("192.0.2.7", "2001:db8::7")  # for documentation: nobody's addresses
RIGHT = base64.b64encode(f"\0{ANA}\0{PASSWORD}".encode()).decode()

# ── from elsewhere ────────────────────────────────────────────────────────────────────────────────────────────────


@in_namespaces("net")
def test_no_login_in_clear_from_elsewhere(tmp_path: Path) -> None:
    """The right password each time, over each way in: refused in clear, taken over TLS."""
    bring_up(ELSEWHERE[0])
    bring_up_v6(ELSEWHERE[1])
    # What the door makes strangers wait is its own tests' business.
    hasty = {"auth": "failure_delay = 0.0\n", "door": "greet_wait = 0.0\ntarpit_step = 0.0\n"}
    office = Target(tmp_path / "office", everywhere=True, tables=hasty)
    office.add_accounts(*ACCOUNTS)
    with office:
        for host in ELSEWHERE:
            smtp_logins_in_clear(office, host)
            imap_logins_in_clear(office, host)
            pop3_logins_in_clear(office, host)
            for port in PORTS:
                if port.name != "mx":
                    login_over_tls(office, host, port)
            no_relaying(office, host)
        assert b"c OK" in greeted(office, PORTS[3]).command(f'LOGIN {ANA} "{PASSWORD}"')  # the loopback may


def reached(office: Target, host: str, port: Port) -> Peer:
    peer = Peer(office.ports[port.name], host=host, tls=port.tls)
    assert peer.line().startswith(GREETINGS[port.protocol])
    return peer


def smtp_logins_in_clear(office: Target, host: str) -> None:
    for port in PORTS[:2]:
        with reached(office, host, port) as peer:
            assert b"AUTH" not in peer.say("EHLO client.test")
            for line in (f"AUTH PLAIN {RIGHT}", "AUTH LOGIN", "AUTH SCRAM-SHA-256 biwsbj1hLHI9YQ==", "AUTH CRAM-MD5"):
                assert peer.say(line)[:1] == b"5", (host, port, line)
            assert peer.say(f"MAIL FROM:<{ANA}>")[:3] == (b"530" if port.name == "submission" else b"250")


def imap_logins_in_clear(office: Target, host: str) -> None:
    with reached(office, host, PORTS[3]) as peer:
        said = peer.command("CAPABILITY")
        assert b"LOGINDISABLED" in said
        assert b"AUTH=" not in said
        assert peer.command(f'LOGIN {ANA} "{PASSWORD}"').startswith(b"c NO [PRIVACYREQUIRED]")
        for mechanism in (f"PLAIN {RIGHT}", "LOGIN", "SCRAM-SHA-256"):
            assert b"c NO" in peer.command(f"AUTHENTICATE {mechanism}")
        assert b"c BAD" in peer.command("SELECT INBOX")


def pop3_logins_in_clear(office: Target, host: str) -> None:
    with reached(office, host, PORTS[5]) as peer:
        peer.send(b"CAPA\r\n")
        said = peer.until(b"\r\n.\r\n")
        assert b"USER" not in said.replace(b"UTF8 USER", b"")
        assert b"SASL" not in said
        for line in (f"USER {ANA}", f"PASS {PASSWORD}", f"AUTH PLAIN {RIGHT}", f"APOP {ANA} {'0' * 32}", "STAT"):
            peer.send(line.encode() + b"\r\n")
            assert peer.line().startswith(b"-ERR"), (host, line)


def login_over_tls(office: Target, host: str, port: Port) -> None:
    with reached(office, host, port) as peer:
        if port.protocol == "smtp":
            if not port.tls:
                peer.say("STARTTLS")
                peer.start_tls()
            assert b"AUTH" in peer.say("EHLO client.test")
            assert peer.say(f"AUTH PLAIN {RIGHT}").startswith(b"235 ")
        elif port.protocol == "imap":
            if not port.tls:
                peer.command("STARTTLS")
                peer.start_tls()
            assert b"c OK" in peer.command(f'LOGIN {ANA} "{PASSWORD}"')
        else:
            if not port.tls:
                peer.send(b"STLS\r\n")
                peer.line()
                peer.start_tls()
            peer.send(f"USER {ANA}\r\nPASS {PASSWORD}\r\n".encode())
            assert [peer.line()[:3] for _ in range(2)] == [b"+OK", b"+OK"]


def no_relaying(office: Target, host: str) -> None:
    with reached(office, host, PORTS[0]) as peer:
        peer.say("EHLO client.test")
        peer.say("MAIL FROM:<>")
        for address in OUTSIDE[::6]:
            assert peer.say(f"RCPT TO:{address}")[:1] in {b"4", b"5"}, address


# ── from outside one cannot tell ──────────────────────────────────────────────────────────────────────────────────

# The login names and passwords that are wrong, each in its own way.
WRONG = {
    "a wrong password": (ANA, "wrong horse"),
    "an unknown user": ("nobody@palomar.test", "wrong horse"),
    "an unknown domain": ("ana@outside.test", "wrong horse"),
    "no address": ("ana", "wrong horse"),
    "an unknown device": ("ana+phone@palomar.test", "wrong horse"),
    "a name that cannot be": ("a" * 200 + "@palomar.test", "wrong horse"),
    "a switched-off account": ("off@palomar.test", PASSWORD),
}


@pytest.fixture(scope="module")
def off(target: Target) -> None:
    """An account whose password is right and does not help."""
    target.add_accounts("off@palomar.test")
    target.command("account", "disable", "off@palomar.test")


def encoded(text: str | bytes) -> bytes:
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


def smtp_plain(target: Target, name: str, password: str) -> bytes:
    with greeted(target, PORTS[1]) as peer:
        peer.say("EHLO client.test")
        peer.send(b"AUTH PLAIN %b\r\n" % encoded(f"\0{name}\0{password}"))
        return peer.reply()


def smtp_login(target: Target, name: str, password: str) -> bytes:
    with greeted(target, PORTS[1]) as peer:
        peer.say("EHLO client.test")
        peer.send(b"AUTH LOGIN\r\n")
        said = peer.reply()
        peer.send(encoded(name) + b"\r\n")
        said += peer.reply()
        peer.send(encoded(password) + b"\r\n")
        return said + peer.reply()


def imap_login(target: Target, name: str, password: str) -> bytes:
    with greeted(target, PORTS[3]) as peer:
        return peer.command(f'LOGIN {name} "{password}"')


def pop3_pass(target: Target, name: str, password: str) -> bytes:
    with greeted(target, PORTS[5]) as peer:
        peer.send(f"USER {name}\r\nPASS {password}\r\n".encode())
        return peer.line() + peer.line()


def imap_scram(target: Target, name: str, password: str) -> bytes:
    """What differs by nature is left out: the nonce and the salt, whose length is kept."""
    machine = client("SCRAM-SHA-256", name, password, nonce=b"client")
    with greeted(target, PORTS[3]) as peer:
        first = machine.step(None)
        assert first is not None
        peer.send(b"a AUTHENTICATE SCRAM-SHA-256 %b\r\n" % encoded(first))
        challenge = base64.b64decode(peer.line()[2:])
        final = machine.step(challenge)
        assert final is not None
        peer.send(encoded(final) + b"\r\n")
        fields = [(field[:1], len(field)) for field in challenge.split(b",")]
        return repr(fields).encode() + challenge[challenge.index(b",i=") :] + peer.line()


WAYS: dict[str, Callable[[Target, str, str], bytes]] = {
    "SMTP AUTH PLAIN": smtp_plain,
    "SMTP AUTH LOGIN": smtp_login,
    "IMAP LOGIN": imap_login,
    "IMAP SCRAM-SHA-256": imap_scram,
    "POP3 PASS": pop3_pass,
}


@pytest.mark.parametrize("way", WAYS)
def test_all_wrong_logins_get_one_answer(off: None, abused: Target, way: str) -> None:
    answers = {what: WAYS[way](abused, *pair) for what, pair in WRONG.items()}
    assert len(set(answers.values())) == 1, answers
    assert refused(PORTS[{"S": 0, "I": 3, "P": 5}[way[0]]], answers["a wrong password"].splitlines()[-1])


def test_a_made_up_salt_stays_the_same(abused: Target) -> None:
    """If it changed from one try to the next, that would tell that there is no account."""

    def salt(name: str) -> bytes:
        with greeted(abused, PORTS[3]) as peer:
            peer.send(b"a AUTHENTICATE SCRAM-SHA-256 %b\r\n" % encoded(f"n,,n={name},r=client"))
            return base64.b64decode(peer.line()[2:]).split(b",")[1]

    assert salt("nobody@palomar.test") == salt("nobody@palomar.test") == salt("NOBODY@palomar.test")
    assert salt("nobody@palomar.test") != salt("noone@palomar.test")
    assert salt(ANA) == salt(ANA)


TRIES = 9
NOISE = 0.35  # of the usual time; a hash that is left out would be a difference of nearly 1
LEAST_S = 0.006  # below this, differences are those of the machine
SERIES = 8  # a machine with other work to do gets further chances; what differs by nature differs in all of them


def quickest(target: Target, way: str) -> dict[str, float]:
    """The least time that each kind of wrong login took, for nothing but the machine makes one take longer."""
    times = dict.fromkeys(WRONG, 60.0)
    for _ in range(TRIES):
        for what, pair in WRONG.items():
            started = time.monotonic()
            WAYS[way](target, *pair)
            times[what] = min(times[what], time.monotonic() - started)
    return times


@pytest.mark.parametrize("way", ["SMTP AUTH PLAIN", "IMAP LOGIN", "POP3 PASS"])
def test_all_wrong_logins_take_the_same_time(off: None, abused: Target, way: str) -> None:
    """The target has no failure delay, which would hide what the checks themselves take."""
    for _ in range(SERIES):
        times = quickest(abused, way)
        usual = times["a wrong password"]
        if all(abs(one - usual) < max(LEAST_S, NOISE * usual) for one in times.values()):
            return
    raise AssertionError(f"the times differ: {times}")


def test_neither_rcpt_nor_vrfy_tells_more_than_it_must(abused: Target) -> None:
    with greeted(abused, PORTS[0]) as peer:
        peer.say("EHLO client.test")
        assert peer.say(f"VRFY {ANA}") == peer.say("VRFY nobody@palomar.test")
        assert peer.say("EXPN staff").startswith(b"502 ")


def test_three_failures_end_a_connection(abused: Target) -> None:
    with greeted(abused, PORTS[1]) as peer:
        peer.say("EHLO client.test")
        said = [peer.say(f"AUTH PLAIN {encoded(f'{chr(0)}{ANA}{chr(0)}x{n}').decode()}") for n in range(3)]
        assert [line[:3] for line in said] == [b"535"] * 3
        assert peer.rest().startswith(b"421 ")
    with greeted(abused, PORTS[3]) as peer:
        peer.send(b"".join(b"a LOGIN ana@palomar.test x%d\r\n" % n for n in range(9)))
        assert peer.rest().count(b"a NO") == 3
    with greeted(abused, PORTS[5]) as peer:
        peer.send(b"".join(b"USER ana@palomar.test\r\nPASS x%d\r\n" % n for n in range(9)))
        assert peer.rest().count(b"-ERR") == 3
