"""swaks, the SMTP tester: every port, every mechanism that it knows, pipelining, LMTP."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.programs import Done, run

pytestmark = pytest.mark.e2e

ANA, LUIS, WEAK = "ana@palomar.test", "luis@palomar.test", "weak@palomar.test"


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    made = make_appliance(accounts=(ANA, LUIS, WEAK))
    made.command("account", "weak", WEAK, "on", "--password-stdin", stdin=PASSWORD + "\n")
    return made


class Swaks:
    """Runs swaks against one appliance."""

    def __init__(self, appliance: Appliance, home: Path, trust: Path) -> None:
        self._appliance, self._home, self._trust = appliance, home, trust

    def __call__(self, port: str, *arguments: str, message: bytes = b"", statuses: tuple[int, ...] = (0,)) -> Done:
        where = ("--server", "127.0.0.1", "--port", str(self._appliance.ports[port])) if port else ()
        data = ()
        if message:
            path = self._home / "message"
            # It makes the line ends, doubles the dots and ends the last line itself.
            path.write_bytes(message.replace(b"\r\n", b"\n").removesuffix(b"\n"))
            data = ("--data", f"@{path}")
        return run("swaks", *where, *arguments, *data, home=self._home, statuses=statuses)

    @property
    def verified(self) -> tuple[str, ...]:
        """Arguments for a TLS peer whose certificate must be right."""
        return "--tls-verify", "--tls-ca-path", str(self._trust), "--tls-sni", "mail.palomar.test"

    def login(self, mechanism: str, user: str = ANA, password: str = PASSWORD) -> tuple[str, ...]:
        return "--auth", mechanism, "--auth-user", user, "--auth-password", password


@pytest.fixture
def swaks(appliance: Appliance, tmp_path: Path, trust: Path) -> Swaks:
    return Swaks(appliance, tmp_path, trust)


def test_mail_from_a_stranger_arrives_as_it_was_sent(appliance: Appliance, swaks: Swaks) -> None:
    sent = letters.awkward("swaks-mx")
    done = swaks("mx", "--from", letters.SENDER, "--to", ANA, "--helo", "mx.example.org", message=sent)
    assert "250 2.0.0 Stored as" in done.text
    stored = inbox(appliance, "swaks-mx")
    assert letters.as_sent(stored) == sent
    assert letters.header_value(stored, "Return-Path") == "<ines@example.org>"
    assert letters.header_value(stored, "Received").startswith("from mx.example.org ([127.0.0.1])")


def test_mail_from_a_stranger_over_tls(appliance: Appliance, swaks: Swaks) -> None:
    sent = letters.plain("swaks-mx-tls")
    swaks("mx", "--from", letters.SENDER, "--to", ANA, "--tls", *swaks.verified, message=sent)
    stored = inbox(appliance, "swaks-mx-tls")
    assert letters.as_sent(stored) == sent
    assert " with ESMTPS " in letters.header_value(stored, "Received")


def test_pipelined_commands_for_two(appliance: Appliance, swaks: Swaks) -> None:
    sent = letters.awkward("swaks-pipeline")
    done = swaks("mx", "--pipeline", "--from", letters.SENDER, "--to", f"{ANA},{LUIS}", message=sent)
    assert "PIPELINING" in done.text
    for account in (ANA, LUIS):
        stored = inbox(appliance, "swaks-pipeline", account)
        assert letters.as_sent(stored) == sent
        assert b"\tfor <" not in stored.partition(b"\r\nFrom:")[0]  # the other one's address is nobody's business


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(("port", "tls"), [("submission", "--tls"), ("submissions", "--tls-on-connect")])
def test_submission(appliance: Appliance, swaks: Swaks, port: str, tls: str, mechanism: str) -> None:
    subject = f"swaks-{port}-{mechanism}"
    sent = letters.awkward(subject, to=LUIS, sender=ANA)
    swaks(port, tls, *swaks.verified, *swaks.login(mechanism), "--from", ANA, "--to", LUIS, message=sent)
    stored = inbox(appliance, subject, LUIS)
    assert letters.as_sent(stored) == sent
    assert " with ESMTPSA " in letters.header_value(stored, "Received")


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "PLAIN"])
def test_an_account_that_opted_in_may_use_cram_md5(appliance: Appliance, swaks: Swaks, mechanism: str) -> None:
    subject = f"swaks-weak-{mechanism}"
    sent = letters.plain(subject, sender=WEAK)
    swaks("submission", "--tls", *swaks.login(mechanism, WEAK), "--from", WEAK, "--to", ANA, message=sent)
    assert letters.as_sent(inbox(appliance, subject)) == sent


def test_another_account_may_not_use_cram_md5(swaks: Swaks) -> None:
    done = swaks("submission", "--tls", *swaks.login("CRAM-MD5"), "--from", ANA, "--to", LUIS, statuses=(28,))
    assert "535 5.7.8" in done.text


@pytest.mark.parametrize("mechanism", ["CRAM-SHA1", "DIGEST-MD5"])
def test_obsolete_mechanisms_are_not_offered(swaks: Swaks, mechanism: str) -> None:
    done = swaks("submission", "--tls", *swaks.login(mechanism, WEAK), "--from", WEAK, "--to", LUIS, statuses=(28,))
    assert "AUTH" in _offered(done)
    assert mechanism not in _offered(done)


def _offered(done: Done) -> str:
    return " ".join(line for line in done.text.splitlines() if re.search(r"250[ -]AUTH ", line))


def test_wrong_password_and_unknown_user_sound_the_same(swaks: Swaks) -> None:
    answers = []
    for user, password in ((ANA, "wrong"), ("nobody@palomar.test", PASSWORD)):
        login = swaks.login("PLAIN", user, password)
        done = swaks("submission", "--tls", *login, "--from", ANA, "--to", LUIS, statuses=(28,))
        answers.append([line[3:].strip() for line in done.text.splitlines() if "535" in line])
    assert answers[0] == answers[1]
    assert answers[0][0].startswith("535 5.7.8")


def test_submission_needs_a_login(swaks: Swaks) -> None:
    done = swaks("submission", "--tls", "--from", ANA, "--to", LUIS, statuses=(23,))
    assert "530 5.7.0" in done.text


def test_no_relaying_for_strangers(swaks: Swaks) -> None:
    done = swaks("mx", "--from", letters.SENDER, "--to", "someone@elsewhere.test", statuses=(24,))
    assert "550 5.7.1" in done.text


def test_unknown_user_is_refused_at_the_door(swaks: Swaks) -> None:
    done = swaks("mx", "--from", letters.SENDER, "--to", "nobody@palomar.test", statuses=(24,))
    assert "550 5.1.1" in done.text


def test_no_logins_on_the_mx_port(swaks: Swaks) -> None:
    done = swaks("mx", "--tls", *swaks.login("PLAIN"), "--from", ANA, "--to", LUIS, statuses=(28,))
    assert _offered(done) == ""


def test_the_null_sender_is_welcome(appliance: Appliance, swaks: Swaks) -> None:
    swaks("mx", "--from", "<>", "--to", ANA, message=letters.plain("swaks-null"))
    assert letters.header_value(inbox(appliance, "swaks-null"), "Return-Path") == "<>"


def test_lmtp_over_a_unix_socket_answers_per_recipient(appliance: Appliance, swaks: Swaks) -> None:
    sent = letters.awkward("swaks-lmtp")
    peer = ("--protocol", "LMTP", "--socket", str(appliance.lmtp))
    done = swaks("", *peer, "--from", letters.SENDER, "--to", f"{ANA},nobody@palomar.test,{LUIS}", message=sent)
    assert "550 5.1.1" in done.text
    assert done.text.count("250 2.0.0 Stored as") == 2
    for account in (ANA, LUIS):
        stored = inbox(appliance, "swaks-lmtp", account)
        assert letters.as_sent(stored) == sent
        assert " with LMTP " in letters.header_value(stored, "Received")


def test_a_message_above_the_limit_is_refused_before_it_is_sent(swaks: Swaks) -> None:
    done = swaks("mx", "--from", f"{letters.SENDER}> SIZE=99999999 X=<", "--to", ANA, statuses=(23,))
    assert "552 5.3.4" in done.text


def test_what_quits_early_leaves_nothing(appliance: Appliance, swaks: Swaks) -> None:
    swaks("mx", "--from", letters.SENDER, "--to", ANA, "--quit-after", "RCPT", message=letters.plain("swaks-early"))
    with Reader(appliance) as reader:
        assert reader.find(b"swaks-early") == []
