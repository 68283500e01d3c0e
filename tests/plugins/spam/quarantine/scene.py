"""An office whose filter holds hoaxes, with a queue that a test turns by hand, and a clock that it moves."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from email import message_from_bytes
from email.message import Message as Parsed
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from appliance.config import CoreConfig, Settings
from appliance.mail.finding import Finding, Judgement
from appliance.mail.message import Message
from appliance.queue.desk import QueueDesk
from appliance.queue.destinations import InHand
from appliance.store.quarantine import Quarantined, quarantined
from appliance.store.queue import due
from plugins.mda.config import MdaConfig
from plugins.mda.delivery import LocalTransport
from plugins.spam import quarantine
from plugins.spam.quarantine.config import QuarantineConfig
from plugins.spam.quarantine.desk import Desk
from plugins.spam.quarantine.links import ReleaseTransport
from plugins.spam.quarantine.schema import MIGRATIONS
from plugins.spam.quarantine.warden import Warden
from tests.appliance.office import Office, office, plugin_of

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
HOAX = b"From: Prince <prince@elsewhere.test>\r\nSubject: A hoax\r\n\r\nDear friend\r\n"
VIRUS = b"From: prince@elsewhere.test\r\nSubject: A virus\r\n\r\nDear friend\r\n"


async def score_message(message: Message) -> Sequence[Finding]:
    subject = message.get(b"subject") or b""
    virus = b"virus" in subject
    found = Finding("hoax", "yes", 9.0, "it is a hoax", action="quarantine" if virus else None)
    return [found] if virus or b"hoax" in subject else []


async def judge_recipient(findings: Sequence[Finding]) -> Judgement:
    score = sum(one.score for one in findings)
    demanded = next((one.name for one in findings if one.action), "")
    header = b"X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=9.0\r\n\ttests=HOAX_YES=9.00\r\n"
    return Judgement("quarantine" if score > 5 else "accept", score, "it is a hoax", header, demanded=demanded)


class Scene:
    def __init__(self, made: Office) -> None:
        self.office, self.core = made, made.core
        self.at = made.core.now()
        self.core.now = lambda: self.at
        self.core.queue = cast(Any, SimpleNamespace(desk=self._desk()))
        self.configure()
        self.warden = Warden(self.core)
        self.calls = dict(Desk(self.core).calls())
        self.learnt: list[tuple[str, bytes]] = []

    def _desk(self) -> QueueDesk:
        unused: Any = None
        return QueueDesk(
            self.core.store, attempts=unused, bounces=unused, hand=InHand, changed=lambda: None, now=lambda: self.at
        )

    def configure(self, **config: Any) -> None:
        core = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",))
        self.core.settings = Settings.of(core, MdaConfig(), QuarantineConfig(**config))

    async def held(self) -> list[Quarantined]:
        return await self.core.store.read(quarantined)

    async def hold(self, *accounts: str, text: bytes = HOAX) -> None:
        """Mail that is held. The store has a clock of its own, which may be wrong."""
        assert (await self.office.send(*(accounts or (ANA,)), message=Message.parse(text))).positive

    async def next_day(self) -> None:
        self.at += 86_400
        await self.warden.turn()

    async def turn_queue(self) -> None:
        """Deliver all that is due to people and links here, as the runner would."""
        ways: dict[str, Any] = {"local": LocalTransport(self.core), "quarantine": ReleaseTransport(self.core)}
        later = int(self.at) + 10**9
        while pairs := (await self.core.store.read(lambda db: due(db, later))).pairs:
            for queued, entry in pairs:
                envelope = self.office.begin(None).envelope
                message = await self.core.store.load(queued.body_id)
                (outcome,) = await ways[entry.route.transport].deliver_queued(envelope, queued, [entry], message)
                assert outcome.status == "delivered", outcome

    async def inbox(self, account: str = ANA) -> list[Parsed]:
        return [message_from_bytes(one) for one in await self.office.inbox(account)]

    async def use(self, link: str, account: str | None = ANA) -> str:
        """Send a mail to the address of a link; the reply."""
        session = {"role": "submission", "account": account} if account else {}
        reply = await self.office.send(link, sender=account or ANA, **session)
        return f"{reply.code} {reply.enhanced}"


def text_of(mail: Parsed, kind: str = "plain") -> str:
    parts = [part for part in mail.walk() if part.get_content_type() == f"text/{kind}"]
    return b"".join(cast(bytes, part.get_payload(decode=True)) for part in parts).decode()


def links_in(mail: Parsed) -> list[str]:
    """The addresses to which its links lead, in their order; the same ones in both forms."""
    found = [re.findall(r"mailto:([^?\"]+)\?", text_of(mail, kind)) for kind in ("plain", "html")]
    assert found[0] == found[1]
    return [one.replace("%2B", "+") for one in found[0]]


@contextlib.asynccontextmanager
async def quarantine_scene(folder: Path) -> AsyncIterator[Scene]:
    hoaxes = plugin_of(score_message=score_message, judge_recipient=judge_recipient)
    learning: list[tuple[str, bytes]] = []

    async def message_released(account: str, message: Message, header: bytes) -> None:
        learning.append((account, header))

    learner = plugin_of(message_released=message_released)
    plugins = (("hoaxes", hoaxes), ("learner", learner), ("spam.quarantine", quarantine))
    async with office(folder, *plugins, migrations=MIGRATIONS) as made:
        scene = Scene(made)
        scene.learnt = learning
        yield scene
