"""Whom the office and an account list, what must be proven, and whom an account knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import CoreConfig, Settings
from appliance.errors import NotFoundError
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.store.accounts import add_alias
from plugins.mda.config import MdaConfig
from plugins.spam.lists import correspondents
from plugins.spam.lists.config import ListsConfig
from plugins.spam.lists.correspondents import DAY_S, Correspondents
from plugins.spam.lists.lists import Lists
from plugins.spam.lists.patterns import PatternError, keys_of, parse_pattern
from plugins.spam.lists.schema import MIGRATIONS
from tests.appliance.office import office
from tests.plugins.spam.stranger import envelope, session

ANA = "ana@palomar.test"
PROVEN = (Finding("dkim", "pass", domain="elsewhere.test"),)


class Scene:
    def __init__(self, core: Any, **config: Any) -> None:
        self.core = core
        core.settings = Settings.of(CoreConfig(), ListsConfig(**config))
        self.at = 1_800_000_000.0
        core.now = lambda: self.at
        self.lists = Lists(core)
        self.calls = dict(self.lists.calls())

    async def found(
        self, author: str = "luis@elsewhere.test", *, account: str = "", found: Any = (), **facts: Any
    ) -> list[str]:
        message = Message.parse(f"From: {author}\r\n\r\n".encode())
        if not account:
            answer = await self.lists.score_message(session(**facts), envelope(None), message, found)
        else:
            one = self.core.store.directory.account(account)
            answer = await self.lists.score_recipient(session(**facts), envelope(None), one, message, found)
        return [f"{one.name} {one.result} {one.action or one.score}" for one in answer or ()]


@pytest.fixture
async def scene(tmp_path: Path) -> Any:
    async with office(tmp_path, migrations=MIGRATIONS) as made:
        yield Scene(made.core, allow=("elsewhere.test",), deny=("192.0.2.64/26", "bad@elsewhere.test"))


async def test_the_office_s_file(scene: Scene) -> None:
    assert await scene.found(found=PROVEN) == ["lists allow -20.0"]
    assert await scene.found() == ["lists unproven 0.0"]
    assert await scene.found("luis@mail.elsewhere.test", found=PROVEN) == ["lists allow -20.0"]
    assert await scene.found("bad@elsewhere.test", found=PROVEN) == ["lists deny refuse"]
    assert await scene.found("a@evilelsewhere.test", found=PROVEN) == []
    assert await scene.found("a@x.test", peer_ip="192.0.2.70") == ["lists deny refuse"]
    assert await scene.found("luis@elsewhere.test", found=(Finding("spf", "pass", domain="other.test"),)) == [
        "lists unproven 0.0"
    ]


@pytest.mark.parametrize(
    ("sender", "ip", "refused"),
    [("bad@elsewhere.test", "192.0.2.7", True), ("a@x.test", "192.0.2.65", True), ("a@x.test", "192.0.2.7", False),
     (None, "192.0.2.65", True), (None, "192.0.2.7", False)],
)  # fmt: skip
async def test_what_is_denied_is_refused_at_mail(scene: Scene, sender: str | None, ip: str, refused: bool) -> None:
    assert (await scene.lists.smtp_sender(session(ip), envelope(sender)) is not None) == refused
    assert await scene.lists.smtp_sender(session(ip, account="ana"), envelope(sender)) is None


async def test_an_account_s_own_list(scene: Scene) -> None:
    put, remove = scene.calls["spamlists.put"], scene.calls["spamlists.remove"]
    assert await scene.found(account=ANA, found=PROVEN) == []
    assert await put(scene.core, kind="deny", pattern="@ELSEWHERE.test", account=ANA, note="boring") == "elsewhere.test"
    assert await scene.found(account=ANA, found=PROVEN) == ["lists deny refuse"]
    await put(scene.core, kind="allow", pattern="luis@elsewhere.test", account=ANA)
    assert await scene.found(account=ANA, found=PROVEN) == ["lists allow -20.0"]  # the narrower entry
    assert await scene.found(account="luis@palomar.test", found=PROVEN) == []
    shown = await scene.calls["spamlists.list"](scene.core, account=ANA)
    assert [(one["pattern"], one["kind"], one["note"]) for one in shown] == [
        ("elsewhere.test", "deny", "boring"), ("luis@elsewhere.test", "allow", ""),
    ]  # fmt: skip
    await remove(scene.core, pattern="luis@elsewhere.test", account=ANA)
    assert await scene.found(account=ANA, found=PROVEN) == ["lists deny refuse"]
    with pytest.raises(NotFoundError):
        await remove(scene.core, pattern="nobody.test")
    with pytest.raises(NotFoundError):
        await put(scene.core, kind="deny", pattern="x.test", account="nobody@palomar.test")
    with pytest.raises(PatternError):
        await put(scene.core, kind="deny", pattern="0.0.0.0/0")


async def test_whom_an_account_has_written_to_is_known(scene: Scene) -> None:
    written = Envelope(None, [Recipient(Address("luis", "elsewhere.test"))])
    await scene.lists.message_accepted(session(account=ANA), written)
    await scene.lists.message_accepted(session(), Envelope(None, [Recipient(Address("eve", "elsewhere.test"))]))
    assert await scene.found("Luis@Elsewhere.test", account=ANA, found=PROVEN) == ["known yes -3.0"]
    assert await scene.found(account=ANA) == []  # nothing proves that it is he
    assert await scene.found("eve@elsewhere.test", account=ANA, found=PROVEN) == []
    assert await scene.found(account="luis@palomar.test", found=PROVEN) == []
    await scene.lists.flush()
    again = Lists(scene.core)
    await again.load()
    scene.lists = again
    assert await scene.found(account=ANA, found=PROVEN) == ["known yes -3.0"]
    scene.at += 600 * DAY_S
    assert await scene.found(account=ANA, found=PROVEN) == []


async def test_who_asks_hears_whom_a_recipient_knows(scene: Scene) -> None:
    written = Envelope(None, [Recipient(Address("luis", "elsewhere.test"))])
    await scene.lists.message_accepted(session(account=ANA), written)
    await scene.core.store.write(lambda db: add_alias(db, "office@palomar.test", (ANA,)))

    async def knows(local: str, sender: str, **config: Any) -> bool | None:
        scene.core.settings = Settings.of(CoreConfig(domains=("palomar.test",)), MdaConfig(), ListsConfig(**config))
        recipient, address = Recipient(Address(local, "palomar.test")), Address(sender, "elsewhere.test")
        return await scene.lists.known_sender(session(), envelope(), recipient, address)

    found = [await knows(local, "luis") for local in ("ana", "ana+news", "office", "luis", "nobody")]
    assert found == [True, True, True, None, None]
    assert await knows("ana", "eve") is None
    assert await knows("ana", "luis", known_days=0.0) is None


def test_correspondents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correspondents, "MAX_KNOWN", 100)
    known = Correspondents()
    for number in range(1000):
        known.note("ana", f"{number}@x.test", 1)
    assert len(known) == 100
    assert not known.knows("ana", "0@x.test", 0)
    assert known.knows("ana", "999@x.test", 1)
    assert len(known.take_touched()) == 100


@pytest.mark.parametrize(
    ("text", "kept"),
    [("Ana@Office.TEST", "ana@office.test"), ("*.office.test", "office.test"), ("192.0.2.9", "192.0.2.9/32"),
     ("192.0.2.9/24", "192.0.2.0/24"), ("2001:db8::1/32", "2001:db8::/32"), ("xn--mnchen-3ya.test", "münchen.test")],
)  # fmt: skip
def test_patterns(text: str, kept: str) -> None:
    assert parse_pattern(text) == kept


@pytest.mark.parametrize("text", ["", "@", "a b", "0.0.0.0/0", "::/0", "a@", "*"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(text)


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_network_means_every_address_in_it(ip: Any, length: int) -> None:
    length = max(16, length) if ip.version == 6 else 8 + length % 25
    assert parse_pattern(f"{ip}/{length}") in set(keys_of([], str(ip)))
