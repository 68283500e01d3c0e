"""Replies: code and enhanced status agree, and nothing in them can start a line of its own."""

import pytest

from appliance.mail.reply import Reply, most_severe


@pytest.mark.parametrize(
    ("code", "enhanced", "text"),
    [
        (199, "", "x"),
        (600, "", "x"),
        (250, "5.0.0", "x"),
        (550, "4.1.1", "x"),
        (550, "5.1", "x"),
        (354, "3.0.0", "x"),
        (250, "2.0.0\r\n", "x"),
        (250, "2.0.0", "a\rb"),
        (250, "2.0.0", "a\0b"),
    ],
)
def test_what_cannot_be_a_reply(code, enhanced, text):
    with pytest.raises(ValueError, match=r"reply|enhanced|CR or NUL"):
        Reply(code, enhanced, text)


def test_wire_form_of_one_and_of_several_lines():
    assert bytes(Reply(250, "2.1.0", "Ok")) == b"250 2.1.0 Ok\r\n"
    assert bytes(Reply(354, "", "Go on")) == b"354 Go on\r\n"
    assert bytes(Reply(550, "5.7.1", "No\nway")) == b"550-5.7.1 No\r\n550 5.7.1 way\r\n"


def test_the_reason_stays_ours():
    reply = Reply(450, "4.2.1", "Later", reason="disk of ana")
    assert b"disk" not in bytes(reply)
    assert "disk" not in str(reply)


@pytest.mark.parametrize(
    ("code", "classes"), [(250, (True, False, False)), (450, (False, True, False)), (550, (False, False, True))]
)
def test_classes(code, classes):
    reply = Reply(code, "", "x")
    assert (reply.positive, reply.temporary, reply.permanent) == classes


def test_most_severe_takes_the_first_of_the_worst_class():
    ok, later, no, never = Reply(250, "", "a"), Reply(451, "", "b"), Reply(550, "", "c"), Reply(554, "", "d")
    assert most_severe([]) is None
    assert most_severe([ok, later]) is later
    assert most_severe([later, no, never, ok]) is no
