"""The calls on a real store, as a command without a running appliance has it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.auth import AuthConfig, Authenticator
from appliance.calls import all_calls
from appliance.config import Bind, CoreConfig, Section, Settings
from appliance.control import Items
from appliance.core import Core
from appliance.document import Document
from appliance.intake import Intake
from appliance.mail.session import Session
from appliance.queue.config import QueueConfig
from appliance.queue.runner import QueueRunner
from appliance.trace import Trace
from plugins.mda.config import MdaConfig
from plugins.smtp.config import SmtpConfig
from tests.appliance.office import Office, office

LOOPBACK = Bind("127.0.0.1", 2525)
EVERYWHERE = Bind("", 2525)


@dataclass
class Desk:
    """Asks calls by name, with items if there are any."""

    core: Core
    office: Office

    async def ask(self, name: str, items: Iterable[Any] = (), /, **arguments: Any) -> Any:
        return await all_calls()[name].start(self.core, _stream(items), arguments)

    async def pieces(self, name: str, /, **arguments: Any) -> list[Any]:
        return [item async for item in all_calls()[name].start(self.core, _stream(()), arguments)]

    async def login(self, login: str, password: str) -> str | None:
        return await self.core.auth.login(Session("s1", "imap"), login, password)

    def listen(self, bind: Bind) -> None:
        """Let the SMTP role listen at `bind`, as after a change of the configuration."""
        self.core.settings = _settings(
            self.core.settings[CoreConfig], SmtpConfig(mx=(bind,), submission=(), submissions=())
        )


async def _stream(items: Iterable[Any]) -> Items:
    for item in items:
        yield item


def _settings(core: CoreConfig, smtp: SmtpConfig) -> Settings:
    sections = [Section("", CoreConfig), Section("mda", MdaConfig), Section("smtp", SmtpConfig)]
    values: dict[type, object] = {CoreConfig: core, MdaConfig: MdaConfig(), SmtpConfig: smtp}
    return Settings(values, Document({}, Path("palomar.toml"), {}), sections)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """An office of palomar.test with the accounts ana and luis, which have no password yet, on the loopback."""
    config = CoreConfig(hostname="mail.palomar.test", domains=("palomar.test",), data=tmp_path)
    async with office(tmp_path, config=config) as made, contextlib.AsyncExitStack() as stack:
        core = made.core
        core.auth = Authenticator(
            lambda: AuthConfig(failure_delay=0),
            find=core.dispatch.find_credentials,
            verify_external=core.dispatch.verify_password,
            secret=b"s" * 32,
        )
        stack.callback(core.auth.close)
        core.trace = Trace(core.store)
        core.queue = QueueRunner(
            store=core.store,
            dispatch=core.dispatch,
            trace=core.trace,
            config=QueueConfig,
            hostname=lambda: config.hostname,
            submit=lambda *arguments, **named: core.intake.submit(*arguments, **named),
        )
        core.intake = Intake(
            config=config,
            store=core.store,
            dispatch=core.dispatch,
            trace=core.trace,
            queue_take=core.queue.take,
            tell_delivered=core.queue.tell_delivered,
        )
        desk = Desk(core, made)
        desk.listen(LOOPBACK)
        yield desk
