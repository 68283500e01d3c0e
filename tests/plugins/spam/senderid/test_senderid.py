"""Who takes responsibility, and whose policy is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from plugins.spam.senderid.config import SenderIdConfig
from plugins.spam.senderid.mechanism import SenderId
from plugins.spam.senderid.protocol_pra import of_pra, responsible
from tests.plugins.spam.stranger import core_with, session

ZONE = """
own.test. TXT "spf2.0/mfrom,pra ip4:192.0.2.7 -all"
own.test. TXT "v=spf1 -all"
old.test. TXT "v=spf1 ip4:192.0.2.7 -all"
other.test. TXT "spf2.0/mfrom -all"
two.test. TXT "spf2.0/pra -all"
two.test. TXT "spf2.0/pra ~all"
strict.test. TXT "spf2.0/pra -all"
"""


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"From: a@x.test\r\n", "a@x.test"),
        (b"From: a@x.test\r\nSender: b@x.test\r\n", "b@x.test"),
        (b"From: a@x.test\r\nSender: b@x.test\r\nResent-From: c@x.test\r\n", "c@x.test"),
        (b"Resent-Sender: d@x.test\r\nResent-From: c@x.test\r\nFrom: a@x.test\r\n", "d@x.test"),
        (b"Resent-From: c@x.test\r\nResent-Sender: d@x.test\r\nFrom: a@x.test\r\n", "d@x.test"),
        (b"Resent-From: c@x.test\r\nReceived: from a\r\nResent-Sender: d@x.test\r\nFrom: a@x.test\r\n", "c@x.test"),
        (b"Resent-Sender:\r\nFrom: a@x.test\r\n", "a@x.test"),
        (b"From: a@x.test, b@x.test\r\n", None),
        (b"From: a@x.test\r\nFrom: b@x.test\r\n", None),
        (b"Sender: a@x.test\r\nSender: a@x.test\r\nFrom: a@x.test\r\n", None),
        (b"From: nobody\r\n", None),
        (b"Subject: x\r\n", None),
    ],
)
def test_the_purported_responsible_address(header: bytes, address: str | None) -> None:
    found = responsible(Message.parse(header + b"\r\n"))
    assert (str(found) if found else None) == address


@pytest.mark.parametrize(
    ("author", "result"),
    [("own.test", "pass"), ("old.test", "pass"), ("other.test", "none"), ("two.test", "permerror"),
     ("strict.test", "fail"), ("nothing.test", "none")],
)  # fmt: skip
async def test_the_policy(tmp_path: Path, author: str, result: str) -> None:
    one = SenderId(core_with(tmp_path, ZONE, SenderIdConfig(fail_score=2)))
    message = Message.parse(f"From: a@{author}\r\n\r\n".encode())
    (found,) = await one.authenticate_message(session(), message, "mechanisms") or ()
    assert (found.result, found.header) == (result, f"sender-id={result} header.from={author}")
    assert found.score == (2 if result == "fail" else 0)
    assert await one.authenticate_message(session(), message, "policy") is None


async def test_nobody_takes_responsibility(tmp_path: Path) -> None:
    one = SenderId(core_with(tmp_path, ZONE, SenderIdConfig()))
    (found,) = await one.authenticate_message(session(), Message.parse(b"A: b\r\n\r\n"), "mechanisms") or ()
    assert (found.result, found.score) == ("permerror", 0)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_policies_are_chosen_among_any_records(records: list[bytes]) -> None:
    assert set(of_pra(records)) <= set(records)


@given(st.binary(max_size=300))
def test_any_header_gives_one_address_or_none(header: bytes) -> None:
    found = responsible(Message.parse(b"From: " + header + b"\r\n\r\n"))
    assert found is None or "@" in str(found)
