"""The small values: envelope, session, finding, delivery."""

import dataclasses

import pytest

from appliance.mail.address import Address
from appliance.mail.delivery import DeliveryError, Outcome, Route
from appliance.mail.envelope import NOTIFY_DELAY, NOTIFY_FAILURE, NOTIFY_NEVER, NOTIFY_SUCCESS, Envelope, Recipient
from appliance.mail.finding import Finding, Judgement
from appliance.mail.reply import Reply
from appliance.mail.session import Session, TlsInfo

ANA = Address.parse("ana@palomar.test")


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (frozenset(), {NOTIFY_FAILURE, NOTIFY_DELAY}),
        (frozenset({NOTIFY_NEVER}), set()),
        (frozenset({NOTIFY_SUCCESS}), {NOTIFY_SUCCESS}),
        (frozenset({NOTIFY_SUCCESS, NOTIFY_DELAY}), {NOTIFY_SUCCESS, NOTIFY_DELAY}),
    ],
)
def test_which_notifications_a_recipient_wants(notify, wanted):
    recipient = Recipient(ANA, notify)
    events = (NOTIFY_SUCCESS, NOTIFY_FAILURE, NOTIFY_DELAY)
    assert {event for event in events if recipient.wants(event)} == wanted


def test_envelopes_do_not_share_their_recipients():
    first, second = Envelope(None), Envelope(None)
    first.recipients.append(Recipient(ANA))
    assert second.recipients == []


@pytest.mark.parametrize(
    ("peer_ip", "loopback"),
    [
        ("", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
    ],
)
def test_loopback_is_judged_by_the_peer_address(peer_ip, loopback):
    assert Session("s", "mx", peer_ip=peer_ip).loopback is loopback


def test_passwords_may_cross_loopback_and_tls_only():
    assert Session("s", "imap", peer_ip="127.0.0.1").private
    assert not Session("s", "imap", peer_ip="192.0.2.1").private
    assert Session("s", "imap", peer_ip="192.0.2.1", tls=TlsInfo("TLSv1.3", "X", 256)).private


def test_sessions_do_not_share_their_stash():
    first, second = Session("a", "mx"), Session("b", "mx")
    first.stash["plugin"] = 1
    assert second.stash == {}


@pytest.mark.parametrize(
    "value",
    [
        Finding("spf", "pass"),
        Judgement("accept", 0.0),
        Route("local", "ana@palomar.test"),
        Outcome(Recipient(ANA), "delivered", Reply(250, "2.0.0", "Ok")),
        Recipient(ANA),
        ANA,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_cannot_be_changed(value):
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)


def test_a_finding_that_is_absent_is_ignored_unless_it_says_otherwise():
    assert Finding("dnsbl", "unavailable").absence == "ignore"
    assert Finding("antivirus", "unavailable", absence="defer").absence == "defer"


def test_a_delivery_error_tells_the_log_the_reason_and_keeps_the_reply():
    error = DeliveryError(Reply(451, "4.3.0", "Try later", reason="no route to host"), transport="relay")
    assert str(error) == "relay: 451 4.3.0 no route to host"
    assert error.reply.temporary
    assert str(DeliveryError(Reply(550, "5.1.1", "No such user"), transport="x")) == "x: 550 5.1.1 No such user"
