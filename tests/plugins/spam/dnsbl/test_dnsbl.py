"""What is asked, what counts, and lists that cannot be believed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.dns import Answer, NoSuchDomainError, TemporaryDnsError
from appliance.mail.message import Message
from plugins.spam.dnsbl.config import DnsblConfig, DnsList
from plugins.spam.dnsbl.dnsbl import Dnsbl
from plugins.spam.dnsbl.health import MAX_FAILURES
from plugins.spam.dnsbl.protocol_names import MAX_LINKS, link_hosts, received_addresses, reversed_address
from tests.plugins.spam.stranger import MESSAGE, core_with, envelope, session

BL = DnsList(zone="bl.test", score=4.0)
WL = DnsList(zone="wl.test", score=-2.0)
RHS = DnsList(zone="rhs.test", kind="senders", score=3.0)
URI = DnsList(zone="uri.test", kind="links", score=5.0, codes=("127.0.1.0/24",))
TESTS = {"2.0.0.127.bl.test": "127.0.0.2", "2.0.0.127.wl.test": "127.0.0.2"}


class Zones:
    """DNS of lists; None is silence."""

    def __init__(self, answers: dict[str, str | None]) -> None:
        self.answers = {**TESTS, **answers}
        self.asked: list[str] = []

    async def look_up(self, name: str, rdtype: str) -> Answer:
        self.asked.append(name)
        if name not in self.answers:
            raise NoSuchDomainError(name)
        found = self.answers[name]
        if found is None:
            raise TemporaryDnsError(f"{name}: timed out")
        return Answer((found,), 300)


class Scene:
    def __init__(self, folder: Path, zones: tuple[DnsList, ...], answers: dict[str, str | None], **config: Any) -> None:
        self.core = core_with(folder, "", DnsblConfig(zones=zones, **config))
        self.dns = Zones(answers)
        self.core.resolver = self.dns  # type: ignore[assignment]
        self.dnsbl = Dnsbl(self.core)

    async def found(self, text: bytes = b"", **facts: Any) -> list[tuple[str, float]]:
        message = Message.parse(bytes(MESSAGE) + text)
        answer = await self.dnsbl.score_message(session(**facts), envelope(), message)
        while self.dnsbl._tests:
            await asyncio.wait(self.dnsbl._tests)
        return [(one.result, one.score) for one in answer or ()]


async def test_peers_senders_and_links(tmp_path: Path) -> None:
    listed = {
        "7.2.0.192.bl.test": "127.0.0.4", "7.2.0.192.wl.test": "127.0.0.9", "elsewhere.test.rhs.test": "127.0.0.2",
        "evil.co.uk.uri.test": "127.0.1.2", "1.113.0.203.uri.test": "127.0.0.2",
    }  # fmt: skip
    one = Scene(tmp_path, (BL, WL, RHS, URI), listed, most=100)
    text = b"see http://www.evil.co.uk/x and https://203.0.113.1/\r\n"
    assert await one.found(text) == [("uri.test", 5.0), ("bl.test", 4.0), ("rhs.test", 3.0), ("wl.test", -2.0)]
    assert await one.found(text, account="ana") == []


async def test_all_lists_together_have_a_limit(tmp_path: Path) -> None:
    one = Scene(tmp_path, (BL, RHS), {"7.2.0.192.bl.test": "127.0.0.4", "elsewhere.test.rhs.test": "127.0.0.2"}, most=5)
    assert await one.found() == [("bl.test", 4.0), ("rhs.test", 1.0)]


@pytest.mark.parametrize("answer", ["127.1.0.1", "192.0.2.1", "10.0.0.1"])
async def test_other_answers_mean_nothing(tmp_path: Path, answer: str) -> None:
    one = Scene(tmp_path, (BL,), {"7.2.0.192.bl.test": answer})
    assert await one.found() == []


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"1.0.0.127.bl.test": "127.0.0.2"}, "lists everybody"),
        ({"2.0.0.127.bl.test": "10.0.0.1"}, "own test entry"),
        ({"2.0.0.127.bl.test": "127.255.255.254"}, "refuses our questions"),
    ],
)
async def test_a_list_that_cannot_be_believed_marks_nothing(
    tmp_path: Path, answers: dict[str, str | None], why: str
) -> None:
    one = Scene(tmp_path, (BL,), {"7.2.0.192.bl.test": "127.0.0.2", **answers})
    await one.found()  # its test is under way
    assert await one.found() == []
    ((_, words, level),) = one.dnsbl.status(one.core)
    assert why in words
    assert level == "warning"


async def test_a_silent_list_rests(tmp_path: Path) -> None:
    one = Scene(tmp_path, (BL,), {"7.2.0.192.bl.test": None, "2.0.0.127.bl.test": None})
    for _ in range(MAX_FAILURES):
        assert await one.found() == []
    asked = len(one.dns.asked)
    await one.found()
    assert len(one.dns.asked) == asked


async def test_a_list_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    one = Scene(tmp_path, (BL, RHS), {"elsewhere.test.rhs.test": "127.0.0.2"}, timeout=0.5)
    answered = one.dns.look_up

    async def hang(name: str, rdtype: str) -> Answer:
        if name.endswith("7.2.0.192.bl.test"):
            await asyncio.Event().wait()
        return await answered(name, rdtype)

    one.dns.look_up = hang  # type: ignore[method-assign]
    assert await one.found() == [("rhs.test", 3.0)]


def test_links() -> None:
    text = (
        b"http://A.test/x https://user:p@b.test:8080 www.c.test <a href='//d.test'> mailto:e@f.test https://m\xc3\xbcnchen.test/"
        b" http://localhost/ http://192.0.2.1/ http://a.test"
    )
    assert link_hosts(text) == ["a.test", "b.test", "www.c.test", "d.test", "xn--mnchen-3ya.test", "192.0.2.1"]
    assert len(link_hosts(b"".join(b"http://h%d.test/ " % n for n in range(1000)))) == MAX_LINKS


def test_addresses_on_the_way() -> None:
    fields = (
        b"Received: from a ([8.8.8.8]) by b\r\nReceived: from x ([10.0.0.1])\r\n"
        b"Received: from y ([IPv6:2001:4860::8])\r\nReceived: from z ([nonsense])\r\n\r\n"
    )
    assert list(received_addresses(Message.parse(fields))) == ["8.8.8.8", "2001:4860::8"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "7.2.0.192"),
        ("::ffff:192.0.2.7", "7.2.0.192"),
        ("2001:db8::1", "1." + "0." * 23 + "8.b.d.0.1.0.0.2"),
    ],
)
def test_backwards(address: str, name: str) -> None:
    assert reversed_address(address) == name


@given(st.binary(max_size=300))
def test_any_text_is_searched(text: bytes) -> None:
    assert all("." in host for host in link_hosts(b"http://" + text))
