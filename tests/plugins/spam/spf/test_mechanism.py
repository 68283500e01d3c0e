"""SPF as a filter: whose mail is checked, and what the findings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.spam.spf.config import SpfConfig
from plugins.spam.spf.mechanism import Spf
from tests.plugins.spam.stranger import MESSAGE, core_with, envelope, session

ZONE = """
elsewhere.test. TXT "v=spf1 ip4:192.0.2.7 ~all"
strict.test. TXT "v=spf1 -all exp=why.strict.test"
why.strict.test. TXT "%{i} is no server of %{d}"
xn--mnchen-3ya.test. TXT "v=spf1 ip4:192.0.2.0/24 -all"
broken.test. TXT "v=spf1 moo"
loop.test. CNAME loop.test.
"""


async def findings(tmp_path: Path, sender: str | None, **facts: str) -> list[tuple[str, str, str]]:
    spf = Spf(core_with(tmp_path, ZONE, SpfConfig()))
    found = await spf.authenticate_message(session(**facts), envelope(sender), MESSAGE, "mechanisms", ())
    return [(one.name, one.result, one.header) for one in found or ()]


@pytest.mark.parametrize(
    ("sender", "result"),
    [
        ("luis@elsewhere.test", "pass"), ("luis@münchen.test", "pass"), ("luis@nowhere.test", "none"),
        ("luis@broken.test", "permerror"), ("luis@loop.test", "temperror"), ("luis@strict.test", "fail"),
    ],
)  # fmt: skip
async def test_the_sender(tmp_path: Path, sender: str, result: str) -> None:
    domain = sender.partition("@")[2].encode("idna").decode()
    assert await findings(tmp_path, sender) == [("spf", result, f"spf={result} smtp.mailfrom={domain}")]


async def test_a_bounce_is_checked_by_its_hello(tmp_path: Path) -> None:
    assert await findings(tmp_path, None, helo="elsewhere.test") == [
        ("spf", "pass", "spf=pass smtp.helo=elsewhere.test")
    ]


async def test_a_stolen_hello_is_told_beside_the_sender(tmp_path: Path) -> None:
    found = await findings(tmp_path, "luis@elsewhere.test", helo="strict.test")
    assert found == [("spf_helo", "fail", ""), ("spf", "pass", "spf=pass smtp.mailfrom=elsewhere.test")]


async def test_a_fail_tells_the_owners_words_and_weighs(tmp_path: Path) -> None:
    spf = Spf(core_with(tmp_path, ZONE, SpfConfig(fail_score=7)))
    (found,) = await spf.authenticate_message(session(), envelope("a@strict.test"), MESSAGE, "mechanisms", ()) or ()
    assert found.text == "strict.test does not let this server send for it: 192.0.2.7 is no server of strict.test"
    assert (found.score, found.domain) == (7, "strict.test")


async def test_a_peer_without_an_address_is_not_checked(tmp_path: Path) -> None:
    assert await findings(tmp_path, "luis@strict.test", peer_ip="") == []


async def test_policy_is_not_its_phase(tmp_path: Path) -> None:
    spf = Spf(core_with(tmp_path, ZONE, SpfConfig()))
    assert await spf.authenticate_message(session(), envelope(), MESSAGE, "policy", ()) is None
