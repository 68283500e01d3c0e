"""The hook: every message from outside, and what our own people send, is shown to clamd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from appliance.core import Core
from appliance.hookspecs import StatusLine, hookimpl
from appliance.mail.finding import Finding
from appliance.mail.message import Message
from plugins.spam.clamav.config import ClamavConfig
from plugins.spam.clamav.protocol_clamd import COMMAND, MAX_ANSWER, ClamdError, read_answer, stream

AT_ONCE = 4  # messages with clamd; each has a thread there
NAME = "clamav"


class Scanner:
    """Asks clamd; a virus is refused whatever else speaks for the message."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._problem = ""

    @hookimpl
    async def score_message(self, message: Message) -> Sequence[Finding] | None:
        """Virus or none; that clamd could not be asked is a finding too."""
        config = self._core.settings[ClamavConfig]
        if message.size > config.max_mib << 20:
            return [Finding(NAME, "unscanned", text=f"the message has more than {config.max_mib} MiB")]
        try:
            async with self._turn, asyncio.timeout(config.timeout):
                name = await self._ask(message, config)
        except TimeoutError:
            return self._absent(f"no answer within {config.timeout:g} s", config)
        except OSError as error:
            return self._absent(f"{config.socket}: {error.strerror or error}", config)
        except ClamdError as error:
            return self._absent(str(error), config)
        self._problem = ""
        if not name:
            return [Finding(NAME, "clean")]
        return [Finding(NAME, "virus", text=f"the message holds {name}", action=config.on_virus, evidence=name)]

    @hookimpl
    def status(self, core: Core) -> Sequence[StatusLine]:
        """That clamd cannot be asked."""
        return [("ClamAV", self._problem, "error")] if self._problem else []

    def _absent(self, why: str, config: ClamavConfig) -> Sequence[Finding]:
        self._problem = f"clamd cannot be asked: {why}"
        absence = "defer" if config.on_absence == "defer" else "ignore"
        return [Finding(NAME, "unavailable", text=why, absence=absence)]  # type: ignore[arg-type]

    async def _ask(self, message: Message, config: ClamavConfig) -> str:
        assert config.where is not None
        host, port = config.where
        opening = asyncio.open_connection(host, port) if port else asyncio.open_unix_connection(host)
        reader, writer = await opening
        try:
            writer.write(COMMAND)
            # clamd may answer before the end (too large): what it says then is worth more than the broken pipe.
            with contextlib.suppress(ConnectionError):
                for chunk in stream(message):
                    writer.write(chunk)
                    await writer.drain()
            answer = await reader.read(MAX_ANSWER)
            while answer and not answer.endswith(b"\0") and len(answer) < MAX_ANSWER:
                if not (more := await reader.read(MAX_ANSWER - len(answer))):
                    break
                answer += more
            return read_answer(answer)
        finally:
            writer.close()
