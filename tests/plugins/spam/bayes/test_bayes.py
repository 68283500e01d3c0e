"""The hooks: what is said of a message, from what is learnt, and that it survives."""

from __future__ import annotations

import mailbox
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.config import CoreConfig, Settings
from appliance.errors import NotFoundError
from appliance.mail.address import Address
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from appliance.store.mailboxes import mailbox_id_for
from plugins.spam.bayes.bayes import Bayes
from plugins.spam.bayes.command import bayes as command
from plugins.spam.bayes.config import BayesConfig
from plugins.spam.bayes.protocol_tokens import tokens_of
from tests.appliance.office import office
from tests.plugins.spam.bayes.letters import ham, spam
from tests.plugins.spam.stranger import session

ANA = "ana@palomar.test"


class Scene:
    """An office with an account, and a filter that has learnt ten messages of each kind."""

    def __init__(self, core: Any, **config: Any) -> None:
        self.core = core
        core.settings = Settings.of(CoreConfig(), BayesConfig(minimum=5, **config))
        self.bayes = Bayes(core)
        self.calls = dict(self.bayes.calls())

    async def learn(self, count: int = 10) -> None:
        for is_spam, make in ((True, spam), (False, ham)):
            batch = [sorted(tokens_of(make(number))) for number in range(count)]
            assert await self.calls["bayes.train"](self.core, messages=batch, spam=is_spam) == count

    async def found(self, message: Message, others: tuple[Finding, ...] = (), account: str = ANA) -> list[Finding]:
        """The findings of a message for an account; what the others found is judged with it."""
        envelope = Envelope(Address.parse("luis@elsewhere.test"), [Recipient(Address.parse(account))])
        found = list(await self.bayes.score_message(session(), envelope, message) or ())
        owner = self.core.store.directory.account(account)
        found += await self.bayes.score_recipient(session(), envelope, owner, message) or ()
        await self.bayes.judge_recipient([*others, *found])
        return found

    async def status(self) -> dict[str, tuple[int, int]]:
        return {row["account"]: (row["spam"], row["ham"]) for row in await self.calls["bayes.status"](self.core)}


@pytest.fixture
async def scene(tmp_path: Path) -> Any:
    async with office(tmp_path) as made:
        if made.store.directory.account(ANA) is None:
            await made.account(ANA)
        yield Scene(made.core)


async def test_nothing_weighs_before_enough_is_learnt(scene: Scene) -> None:
    await scene.learn(4)
    assert [one.score for one in await scene.found(spam(20))] == [0.0]


async def test_learnt_kinds_weigh(scene: Scene) -> None:
    await scene.learn()
    (bad,), (good,) = await scene.found(spam(20)), await scene.found(ham(20))
    assert (bad.result, good.result) == ("spam", "ham")
    assert bad.score > 2
    assert good.score < -1
    assert "header" in bad.evidence


async def test_our_own_mail_is_not_compared(scene: Scene) -> None:
    envelope = Envelope(Address.parse("ana@palomar.test"))
    assert await scene.bayes.score_message(session(account="ana"), envelope, spam(1)) is None


async def filed(scene: Scene, message: Message, name: str) -> int:
    """Put a message into a mailbox of ana's; its uid."""
    account = scene.core.store.directory.account(ANA)
    place = await scene.core.store.write(lambda db: mailbox_id_for(db, account.id, name))
    (uid,) = await scene.core.store.append(place, [(message, 0, (), 1_700_000_000)])
    return uid


async def test_moves_from_junk_teach_the_account_and_the_base(scene: Scene) -> None:
    await scene.learn()
    before = (await scene.found(spam(20)))[0].score
    for number in range(6):
        uid = await filed(scene, spam(number), "INBOX")
        await scene.bayes.message_moved(ANA, "Junk", "INBOX", [uid])
    assert await scene.status() == {"(all)": (10, 16), ANA: (0, 6)}
    base, own = await scene.found(spam(20))
    assert own.name == "bayes.own"
    assert base.score + own.score < before


async def test_what_is_released_from_quarantine_is_wanted_mail(scene: Scene) -> None:
    await scene.bayes.message_released(ANA, ham(1))
    await scene.bayes.message_released("nobody@palomar.test", ham(2))
    assert await scene.status() == {"(all)": (0, 1), ANA: (0, 1)}


@pytest.mark.parametrize(("source", "target"), [("INBOX", "Archive"), ("Junk", "Trash"), ("Junk", "Junk")])
async def test_other_moves_teach_nothing(scene: Scene, source: str, target: str) -> None:
    await scene.bayes.message_moved(ANA, source, target, [1])
    assert await scene.status() == {"(all)": (0, 0)}


async def test_what_was_expunged_meanwhile_is_not_learnt(scene: Scene) -> None:
    await filed(scene, spam(1), "Junk")
    await scene.bayes.message_moved(ANA, "INBOX", "Junk", [77])
    assert await scene.status() == {"(all)": (0, 0)}


async def test_what_other_checks_are_sure_of_is_learnt_once_and_bounded(scene: Scene) -> None:
    scene.core.settings = Settings.of(CoreConfig(), BayesConfig(learn_per_day=2))
    for number in range(4):
        await scene.found(spam(number), (Finding("dnsbl", "listed", 12.0),))
        await scene.found(ham(number), (Finding("known", "yes", -3.0),))
        await scene.found(ham(number), (Finding("spf", "pass", -0.1),))
    assert await scene.status() == {"(all)": (2, 2)}


async def test_what_was_learnt_survives(scene: Scene) -> None:
    await scene.learn()
    await scene.bayes.flush()
    again = Bayes(scene.core)
    await again.load()
    assert again._memory.owners == scene.bayes._memory.owners


async def test_an_unknown_account_is_named(scene: Scene) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        await scene.calls["bayes.train"](scene.core, messages=[[1]], spam=True, account="nobody")


class Heard:
    """Stands for the appliance at the end of the control socket."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def call(self, name: str, **arguments: Any) -> Any:
        self.said.append({"name": name, **arguments})
        return len(arguments["messages"])


@pytest.mark.parametrize("kind", ["mbox", "maildir", "folder", "file"])
def test_train_reads_what_offices_have(tmp_path: Path, kind: str) -> None:
    path, letters = tmp_path / "mail", [bytes(spam(number)) for number in range(3)]
    if kind in ("mbox", "maildir"):
        box = mailbox.mbox(path) if kind == "mbox" else mailbox.Maildir(path)
        for one in letters:
            box.add(one.replace(b"\r\n", b"\n"))
        box.flush()
    elif kind == "folder":
        path.mkdir()
        for number, one in enumerate(letters):
            (path / f"{number}.eml").write_bytes(b"From x  Mon Jan  1 00:00:00 2024\n" + one)
    else:
        letters = letters[:1]
        path.write_bytes(letters[0])
    heard = Heard()
    result = CliRunner().invoke(command, ["train", "--spam", str(path)], obj=heard)
    assert result.exit_code == 0, result.output
    learnt = [set(tokens) for said in heard.said for tokens in said["messages"]]
    assert sorted(map(len, learnt)) == sorted(len(tokens_of(Message.parse(one))) for one in letters)
    assert all(said["spam"] is True for said in heard.said)


def test_train_wants_to_be_told_which(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["train", str(tmp_path)], obj=Heard())
    assert result.exit_code == 2
    assert "--spam or --ham" in result.output
