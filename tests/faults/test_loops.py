"""Mail that goes in circles, and answers to senders who never wrote: both end here."""

from __future__ import annotations

from tests.e2e.appliance_process import ACCOUNTS, wait_for
from tests.faults.nexthop import NextHop
from tests.faults.peer import deliver, imap, last_number, smtp
from tests.faults.target import Target

HOP = "Received: from a.test by b.test; Mon, 23 Nov 2026 10:00:00 +0000\r\n"


def test_a_message_that_has_passed_too_many_servers_is_refused(office: Target) -> None:
    assert deliver(office, HOP * 45 + "Subject: far\r\n\r\nx\r\n").startswith(b"250 ")
    assert deliver(office, HOP * 51 + "Subject: loop\r\n\r\nx\r\n").startswith(b"554 5.4.6")
    folded = "Received: from a.test\r\n\tby b.test;\r\n Mon, 23 Nov 2026 10:00:00 +0000\r\n"
    assert deliver(office, "received: x\r\n" * 20 + folded * 31 + "\r\nx\r\n").startswith(b"554 5.4.6")


def test_a_message_that_was_delivered_to_the_same_mailbox_before_is_refused(office: Target) -> None:
    assert deliver(office, "Delivered-To: ana@palomar.test\r\nSubject: loop\r\n\r\nx\r\n").startswith(b"554 5.4.6")
    assert deliver(office, "Delivered-To: luis@palomar.test\r\nSubject: no loop\r\n\r\nx\r\n").startswith(b"250 ")


def test_aliases_that_lead_to_each_other_are_refused(office: Target) -> None:
    office.command("alias", "add", "ring1@palomar.test", "ring2@palomar.test")
    office.command("alias", "add", "ring2@palomar.test", "ring1@palomar.test")
    with smtp(office) as peer:
        peer.say("MAIL FROM:<a@outside.test>")
        assert peer.say("RCPT TO:<ring1@palomar.test>").startswith(b"550 5.4.6")


def from_nobody(office: Target, recipient: str, marker: str, sender: str = "<>", login: bool = False) -> bytes:
    """Send with the null sender; the answer to RCPT if it is a refusal, else to the message."""
    with smtp(office, "submission" if login else "mx") as peer:
        assert peer.say(f"MAIL FROM:{sender}").startswith(b"250 ")
        answer = peer.say(f"RCPT TO:<{recipient}>")
        if not answer.startswith(b"250 "):
            return answer
        peer.say("DATA")
        peer.send(f"Subject: {marker}\r\n\r\nx\r\n.\r\n".encode())
        return peer.reply()


def test_unknown_users_are_refused_at_the_door(office: Target) -> None:
    """A refusal costs the sender's own server a bounce; one of ours would go to whoever stands in MAIL FROM."""
    for sender in ("<>", "<forged@outside.test>"):
        assert from_nobody(office, "nobody@palomar.test", "unknown", sender).startswith(b"550 5.1.1")
    assert office.queued == []


def settled(office: Target) -> bool:
    return wait_for(lambda: office.queued == [], "an empty queue") is not None


def test_the_null_sender_gets_no_bounce(office: Target, hop: NextHop) -> None:
    """An alias leads to a domain that takes no mail (RFC 7505): the postmaster may hear of it, and nobody else."""
    office.command("alias", "add", "gone@palomar.test", "gone@refusing.test")
    before = len(hop.messages)
    with imap(office) as reader:
        seen = last_number(reader)
        assert from_nobody(office, "gone@palomar.test", "null sender").startswith(b"250 ")
        assert settled(office)
        assert last_number(reader) - seen <= 1  # ana is the postmaster
    assert len(hop.messages) == before


def test_a_bounce_is_sent_once_and_has_no_sender(office: Target, hop: NextHop) -> None:
    before = len(hop.messages)
    office.command("alias", "add", "shut@palomar.test", "shut@refusing.test")
    answer = from_nobody(office, "shut@palomar.test", "to be bounced", "<author@outside.test>")
    assert answer.startswith(b"250 ")
    wait_for(lambda: len(hop.messages) > before, "the bounce")
    assert settled(office)
    (bounce,) = hop.messages[before:]
    assert bounce.sender.startswith("<>"), bounce.sender
    assert bounce.recipients == ["<author@outside.test>"]
    assert b"Auto-Submitted: auto-" in bounce.raw


def test_a_bounce_that_cannot_be_delivered_ends_there(office: Target, hop: NextHop) -> None:
    """Our own user writes to a domain that takes no mail, from an address whose bounces nobody takes either."""
    before = len(hop.messages)
    with imap(office) as reader:
        seen = last_number(reader)
        answer = from_nobody(office, "gone@palomar.test", "double", "<author@refusing.test>")
        assert answer.startswith(b"250 ")
        assert settled(office)
        told = last_number(reader) - seen
        assert told <= 1  # the postmaster, once
    assert len(hop.messages) == before


def test_our_user_hears_of_a_failure(office: Target) -> None:
    with imap(office) as reader:
        seen = last_number(reader)
        answer = from_nobody(office, "x@refusing.test", "fails", f"<{ACCOUNTS[0]}>", login=True)
        assert answer.startswith(b"250 ")
        wait_for(lambda: last_number(reader) == seen + 1, "the bounce in the author's mailbox")
