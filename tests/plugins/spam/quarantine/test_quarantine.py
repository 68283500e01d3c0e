"""What is held is told once a day, and released by links that are good once, for one account."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.errors import StoreError
from appliance.mail.envelope import Recipient
from appliance.store.accounts import set_enabled, set_language
from appliance.store.mailboxes import get_mailbox
from appliance.store.sharing import share
from plugins.spam.quarantine.command import quarantine as command
from plugins.spam.quarantine.config import QuarantineConfig
from plugins.spam.quarantine.desk import QuarantineError
from plugins.spam.quarantine.digests import due_day, send_now
from plugins.spam.quarantine.links import Links, new_link, redeem
from plugins.spam.quarantine.schema import add_links
from tests.plugins.spam.quarantine.scene import ANA, LUIS, VIRUS, Scene, links_in, quarantine_scene, text_of


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with quarantine_scene(tmp_path) as made:
        await made.warden.turn()  # the first turn only marks the day
        yield made


async def digest(scene: Scene, account: str = ANA) -> Any:
    await scene.next_day()
    (mail,) = await scene.inbox(account)
    return mail


async def test_held_told_released_and_answered(scene: Scene) -> None:
    await scene.hold()
    mail = await digest(scene)
    assert mail["Subject"] == "One message is held for you"
    assert mail["Auto-Submitted"] == "auto-generated"
    lines = text_of(mail).splitlines()
    assert {"Subject: A hoax", "From: Prince <prince@elsewhere.test>", "Why it is held: it is a hoax"} <= set(lines)
    (link,) = links_in(mail)
    assert await scene.use(link) == "250 2.0.0"
    await scene.turn_queue()
    _, answer, released = sorted(await scene.inbox(), key=lambda one: ["One", "Rel", "A h"].index(one["Subject"][:3]))
    assert released["X-Spam-Status"].split() == ["No,", "score=9.0", "tests=HOAX_YES=9.00"]
    assert released["X-Spam-Flag"] is None
    assert released.get_payload() == "Dear friend\r\n"
    assert 'The message "A hoax" from Prince <prince@elsewhere.test> is released' in text_of(answer)
    assert answer["Auto-Submitted"] == "auto-replied"
    assert await scene.held() == []
    await scene.core.dispatch.settle()
    ((account, header),) = scene.learnt
    assert (account, header.endswith(b"\ttests=HOAX_YES=9.00\r\n")) == (ANA, True)


async def test_a_link_is_good_once_and_for_its_own_account_only(scene: Scene) -> None:
    await scene.hold()
    (link,) = links_in(await digest(scene))
    assert await scene.use(link, LUIS) == "550 5.7.1"
    assert await scene.use(link, None) == "550 5.7.1"
    assert await scene.use(link.upper()) == "250 2.0.0"
    assert await scene.use(link) == "250 2.0.0"  # twice in one second: the second finds nothing to do
    await scene.turn_queue()
    assert sorted(one["Subject"] for one in await scene.inbox())[1:] == [
        "Not released", "One message is held for you", "Released from quarantine",
    ]  # fmt: skip
    assert await scene.use(link) == "550 5.7.1"


async def test_whoever_sees_to_a_role_s_inbox_may_use_its_links(scene: Scene) -> None:
    await scene.hold()
    (link,) = links_in(await digest(scene))
    for rights, reply in (("lr", "550 5.7.1"), ("i", "550 5.7.1"), ("lri", "250 2.0.0")):
        await scene.core.store.write(lambda db, rights=rights: share(db, inbox_of(db, ANA), LUIS, rights))  # type: ignore[misc]
        assert await scene.use(link, LUIS) == reply
    await scene.turn_queue()
    assert "A hoax" in [one["Subject"] for one in await scene.inbox()]


def inbox_of(db: Any, name: str) -> Any:
    (account_id,) = db.execute("SELECT id FROM account WHERE name = ?", (name,)).fetchone()
    return get_mailbox(db, account_id, "INBOX")


async def test_an_answer_that_cannot_be_stored_is_tried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.hold()
    (link,) = links_in(await digest(scene))
    assert await scene.use(link) == "250 2.0.0"

    async def full(*_: object, **__: object) -> None:
        raise StoreError("full")

    with monkeypatch.context() as broken:
        broken.setattr(scene.core.intake, "submit", full)
        with pytest.raises(AssertionError, match="deferred"):
            await scene.turn_queue()
    assert await scene.held() == []
    await scene.turn_queue()
    answer = next(one for one in await scene.inbox() if one["Subject"] == "Not released")
    assert "it may be in your inbox already" in text_of(answer)
    assert "A hoax" in [one["Subject"] for one in await scene.inbox()]


async def test_a_link_ends(scene: Scene) -> None:
    await scene.hold()
    (link,) = links_in(await digest(scene))
    scene.at += 7 * 86_400
    assert await scene.use(link) == "550 5.7.1"
    assert len(await scene.held()) == 1


async def test_a_link_is_not_for_another_message_in_the_same_place(scene: Scene) -> None:
    await scene.hold()
    (link,) = links_in(await digest(scene))
    (old,) = await scene.held()
    await scene.core.store.write(lambda db: db.execute("UPDATE queued SET trace_id = 'another'"))
    assert await scene.use(link) == "250 2.0.0"
    await scene.turn_queue()
    assert [one.entry_id for one in await scene.held()] == [old.entry_id]


@pytest.mark.parametrize("local", ["release+" + "a" * 24, "RELEASE+" + "7" * 24])
async def test_an_invented_token_is_refused(scene: Scene, local: str) -> None:
    assert await scene.use(f"{local}@palomar.test") == "550 5.7.1"


@pytest.mark.parametrize("local", ["release", "release+short", "release+" + "a" * 23 + "1", "ana+" + "a" * 24])
async def test_other_addresses_are_not_ours(scene: Scene, local: str) -> None:
    from appliance.mail.address import Address

    recipient = Recipient(Address(local, "palomar.test"))
    assert await Links(scene.core).route_recipient(scene.office.begin().session, recipient) is None
    assert await Links(scene.core).expand_recipient(recipient) is None


async def test_what_was_demanded_has_no_link(scene: Scene) -> None:
    await scene.hold(text=VIRUS)
    mail = await digest(scene)
    assert links_in(mail) == []
    assert "ask your administrator" in text_of(mail)
    owner = scene.core.store.directory.require_account(ANA)
    (one,) = await scene.held()
    link, address = new_link(scene.core, owner, one)  # nor would one be good
    await scene.core.store.write(lambda db: add_links(db, [link]))
    assert await redeem(scene.core, owner, address.local.rpartition("+")[2]) is None
    assert len(await scene.held()) == 1


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nobody_is_told_when_nothing_new_is_held(scene: Scene) -> None:
    await scene.hold(ANA)
    await scene.next_day()
    await scene.next_day()
    assert (len(await scene.inbox(ANA)), len(await scene.inbox(LUIS))) == (1, 0)
    await scene.hold(ANA)
    await scene.next_day()
    (_, second) = await scene.inbox(ANA)
    assert len(links_in(second)) == 1
    assert "Still held from before: 1." in text_of(second)


async def test_once_a_day_also_after_a_restart(scene: Scene) -> None:
    await scene.hold()
    await scene.next_day()
    await scene.hold()
    scene.at += 60
    for _ in range(3):
        await Scene(scene.office).warden.turn()
    assert len(await scene.inbox()) == 1


async def test_a_digest_that_cannot_be_stored_is_sent_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.hold()

    async def full(*_: object, **__: object) -> None:
        raise StoreError("full")

    with monkeypatch.context() as broken:
        broken.setattr(scene.core.intake, "submit", full)
        with pytest.raises(StoreError):
            await scene.next_day()
    await scene.warden.turn()
    (mail,) = await scene.inbox()
    (link,) = links_in(mail)
    assert await scene.use(link) == "250 2.0.0"


async def test_while_the_time_is_unset_nothing_happens(scene: Scene) -> None:
    await scene.hold()
    scene.core.time_state = "unset"
    scene.at += 40 * 86_400
    await scene.warden.turn()
    assert len(await scene.held()) == 1
    assert await scene.inbox() == []


async def test_whoever_gets_no_mail_is_not_told(scene: Scene) -> None:
    await scene.hold()
    await scene.core.store.write(lambda db: set_enabled(db, ANA, enabled=False))
    await scene.next_day()
    assert await scene.inbox() == []


@pytest.mark.parametrize(("hour", "day"), [(0, 0), (12, 0), (13, -1), (23, -1)])
def test_the_day_begins_at_its_hour(hour: int, day: int) -> None:
    import datetime

    noon = datetime.datetime(2026, 11, 25, 12, 30).astimezone()
    assert due_day(noon.timestamp(), hour) == noon.toordinal() + day


# ── removing, and the command ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_waits_too_long_or_is_too_much_goes(scene: Scene) -> None:
    await scene.hold(ANA, LUIS)
    await scene.core.store.write(lambda db: db.execute("UPDATE queued SET created_at = 1"))  # the clock was wrong
    await scene.warden.turn()
    scene.at += 14 * 86_400
    await scene.warden.turn()
    assert len(await scene.held()) == 2
    scene.at += 1
    await scene.warden.turn()
    assert await scene.held() == []
    for _ in range(5):
        await scene.hold(ANA)
    await scene.hold(LUIS)
    scene.configure(max_held=2, days=365)
    before = [one.entry_id for one in await scene.held() if one.account == ANA]
    await scene.warden.turn()
    left = await scene.held()
    assert [one.entry_id for one in left if one.account == ANA] == before[-2:]
    assert len(left) == 3


async def test_listing_showing_releasing_removing(scene: Scene) -> None:
    await scene.hold(ANA, LUIS)
    rows = await scene.calls["quarantine.list"](scene.core)
    assert [(row["account"], row["subject"], row["score"]) for row in rows] == [
        (ANA, "A hoax", 9.0), (LUIS, "A hoax", 9.0),
    ]  # fmt: skip
    assert len(await scene.calls["quarantine.list"](scene.core, account=ANA)) == 1
    shown = await scene.calls["quarantine.show"](scene.core, name=rows[0]["name"])
    assert "tests=HOAX_YES=9.00\r\nFrom: Prince" in shown["header"]
    assert await scene.calls["quarantine.release"](scene.core, names=[rows[0]["name"]]) == 1
    await scene.core.dispatch.settle()
    assert scene.learnt == []
    assert await scene.calls["quarantine.remove"](scene.core, names=[rows[1]["name"]]) == 1
    await scene.turn_queue()
    assert [one["Subject"] for one in await scene.inbox()] == ["A hoax"]
    assert await scene.inbox(LUIS) == []
    for name in (rows[0]["name"], "99.0", "17", "a.b", "../1.0"):
        with pytest.raises(QuarantineError):
            await scene.calls["quarantine.show"](scene.core, name=name)


async def test_the_administrator_may_release_what_was_demanded_and_teach(scene: Scene) -> None:
    await scene.hold(text=VIRUS)
    (one,) = await scene.calls["quarantine.list"](scene.core)
    assert await scene.calls["quarantine.release"](scene.core, names=[one["name"]], learn=True) == 1
    await scene.core.dispatch.settle()
    assert [account for account, _ in scene.learnt] == [ANA]


async def test_a_digest_now(scene: Scene) -> None:
    await scene.hold(ANA, LUIS)
    assert await send_now(scene.core) == 2
    assert await send_now(scene.core) == 0
    assert len(await scene.inbox(LUIS)) == 1


def test_the_command() -> None:
    row = {
        "name": "17.0", "recipient": ANA, "account": ANA, "held_at": 1, "score": 9.0, "sender": "a\x1b[31m",
        "subject": "A hoax", "reason": "why", "demanded": "", "size": 10, "trace_id": "t", "header": "C: \x1b[2J\r\n",
    }  # fmt: skip
    asked: list[tuple[str, dict[str, Any]]] = []

    class Palomar:
        def call(self, name: str, /, **arguments: Any) -> Any:
            asked.append((name, arguments))
            return {"quarantine.list": [row], "quarantine.show": row}.get(name, 1)

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(command, arguments, obj=Palomar(), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "A hoax" in said("list")
    assert json.loads(said("list", "--json"))[0]["name"] == "17.0"
    assert "\x1b" not in said("show", "17.0") + said("list")
    assert "1 message(s) released" in said("release", "17.0", "--learn")
    assert asked[-1] == ("quarantine.release", {"names": ["17.0"], "learn": True})
    assert "1 message(s) removed" in said("remove", "17.0", "18.1", "--yes")
    assert "1 account(s) told" in said("digest")


@pytest.mark.parametrize("name", ["", "Release", "a+b", "a@b", "x" * 33, "-a"])
def test_a_name_that_fits_into_no_address(name: str) -> None:
    assert [one.setting for one in QuarantineConfig(release_name=name).problems()] == ["release_name"]


async def test_each_account_reads_its_own_language(scene: Scene) -> None:
    await scene.core.store.write(lambda db: set_language(db, LUIS, "es"))
    await scene.hold(ANA, LUIS)
    assert (await digest(scene))["Content-Language"] == "en"
    (mail,) = await scene.inbox(LUIS)
    assert mail["Subject"] == "Un mensaje retenido para usted"
    assert "sin asunto" not in text_of(mail)


async def test_little_is_left_of_what_is_gone(scene: Scene) -> None:
    await scene.hold()
    (link,) = links_in(await digest(scene))
    assert await scene.use(link) == "250 2.0.0"
    await scene.turn_queue()
    await scene.hold(LUIS)
    await scene.warden.turn()

    def left(db: Any) -> list[int]:
        return [db.execute(f"SELECT count(*) FROM quarantine_{table}").fetchone()[0] for table in ("seen", "link")]

    assert await scene.core.store.read(left) == [1, 0]
