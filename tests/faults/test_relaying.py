"""No open relay: whoever has not logged in reaches our own mailboxes, in whatever form an address is written."""

from __future__ import annotations

import itertools

import pytest

from tests.e2e.appliance_process import ACCOUNTS
from tests.faults.addresses import OUTSIDE
from tests.faults.nexthop import NextHop
from tests.faults.peer import Port, greeted, smtp
from tests.faults.target import Target

SENDERS = ("<>", "<a@outside.test>", f"<{ACCOUNTS[0]}>", "<postmaster@palomar.test>", "<victim@outside.test>")
OURS = (
    "<ana@palomar.test>",
    "<ANA@Palomar.TEST>",
    "<ana+lists@palomar.test>",
    '<"ana"@palomar.test>',
    "<@outside.test:ana@palomar.test>",
    "<postmaster@palomar.test>",
    "<PostMaster@palomar.test>",
    "<postmaster@mail.palomar.test>",
    "<postmaster>",
)


@pytest.mark.parametrize("source", ["127.0.0.1", "127.3.2.1"])
def test_no_form_of_an_address_leads_outside(office: Target, hop: NextHop, source: str) -> None:
    """From this machine itself no less than from elsewhere: being near is no login."""
    before = len(hop.messages)
    for sender, parameter in itertools.product(SENDERS, ("", " SMTPUTF8")):
        with_address = iter(OUTSIDE)
        while chunk := list(itertools.islice(with_address, 12)):  # fewer than the refusals of one connection
            with smtp(office, source=source) as peer:
                assert peer.say(f"MAIL FROM:{sender}{parameter}").startswith(b"250 ")
                for address in chunk:
                    answer = peer.say(f"RCPT TO:{address}")
                    assert answer[:1] in {b"4", b"5"}, (sender, address, answer)
                assert peer.say("DATA")[:1] == b"5"
    assert office.queued == []
    assert len(hop.messages) == before


def test_what_an_unknown_peer_may_reach(office: Target) -> None:
    for address in OURS:
        with smtp(office) as peer:
            peer.say("MAIL FROM:<a@outside.test>")
            assert peer.say(f"RCPT TO:{address}").startswith(b"250 "), address


def test_words_of_the_peer_open_nothing(office: Target) -> None:
    """What a peer says of itself is no login: its name, a sender of ours, AUTH=, proxies' and other servers' verbs."""
    for name in ("mail.palomar.test", "palomar.test", "localhost", "[127.0.0.1]"):
        with greeted(office, Port("mx", "smtp")) as peer:
            peer.say(f"EHLO {name}")
            assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}> AUTH={ACCOUNTS[0]}").startswith(b"250 ")
            assert peer.say("RCPT TO:<victim@outside.test>").startswith(b"550 5.7.1")
    for verb in ("XCLIENT ADDR=127.0.0.1 LOGIN=ana", "XFORWARD ADDR=127.0.0.1", "PROXY TCP4 127.0.0.1 127.0.0.1 1 25"):
        with smtp(office) as peer:
            assert peer.say(verb).startswith(b"500 ")


def test_one_of_ours_among_the_recipients_carries_nobody_along(office: Target, hop: NextHop) -> None:
    before = len(hop.messages)
    with smtp(office) as peer:
        peer.say("MAIL FROM:<a@outside.test>")
        assert peer.say("RCPT TO:<ana@palomar.test>").startswith(b"250 ")
        assert peer.say("RCPT TO:<victim@outside.test>").startswith(b"550 ")
        assert peer.say("RCPT TO:<luis@palomar.test>").startswith(b"250 ")
        assert peer.say("DATA").startswith(b"354 ")
        peer.send(b"Subject: mixed\r\nTo: victim@outside.test\r\n\r\nx\r\n.\r\n")
        assert peer.reply().startswith(b"250 ")
    assert office.queued == []
    assert len(hop.messages) == before


@pytest.mark.parametrize("name", ["submission", "submissions"])
def test_the_submission_ports_take_nothing_before_the_login(office: Target, name: str) -> None:
    with greeted(office, Port(name, "smtp", tls=name == "submissions")) as peer:
        peer.say("EHLO client.test")
        for sender in SENDERS:
            assert peer.say(f"MAIL FROM:{sender}").startswith(b"530 ")
        assert peer.say("RCPT TO:<ana@palomar.test>").startswith(b"503 ")
        assert peer.say("AUTH PLAIN AGFuYUBwYWxvbWFyLnRlc3QAd3Jvbmc=").startswith(b"535 ")
        assert peer.say("AUTH PLAIN =").startswith((b"535 ", b"501 "))
        assert peer.say("MAIL FROM:<ana@palomar.test>").startswith(b"530 ")


def test_a_login_may_send_outside_but_not_as_somebody_else(office: Target) -> None:
    with smtp(office, "submission") as peer:
        for sender in ("<luis@palomar.test>", "<ceo@outside.test>"):
            assert peer.say(f"MAIL FROM:{sender}")[:1] == b"5", sender
        assert peer.say(f"MAIL FROM:<{ACCOUNTS[0]}>").startswith(b"250 ")
        assert peer.say("RCPT TO:<victim@outside.test>").startswith(b"250 ")
