"""The settings of milters: filters in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from appliance.config import number, setting, within
from appliance.document import dotted
from appliance.errors import Problem

FORMS = 'Write it like "127.0.0.1:8891", "[::1]:8891" or "unix:/run/opendkim/opendkim.sock".'

# What all filters of a role together may take: their hooks have ten seconds and sixty, and the failure of a filter
# must be told by its own rule before the hook's deadline ends them all.
DIALOGUE_S = 9.0
CONTENT_S = 57.0

Role = Literal["mx", "submission", "lmtp"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MilterFilter:
    """[[milter.filters]]"""

    socket: str = setting("", "Where it listens: address:port, or unix:/path.")
    name: str = setting("", "A short name for logs and the trace; empty takes socket.")
    roles: tuple[Role, ...] = setting(("mx", "submission"), "The ports whose mail it sees.")
    on_failure: Literal["defer", "accept", "refuse"] = setting(
        "defer", "What happens to mail while it cannot be asked: defer lets peers try again."
    )
    timeout: float = setting(5.0, "Seconds for its answer to one command, the connection to it included.")
    content_timeout: float = setting(45.0, "Seconds for a message's content, from DATA to its verdict.")

    def problems(self) -> Iterator[Problem]:
        """Sockets that are none, and times that the dialogue does not leave."""
        if not self.socket:
            yield Problem("socket", "must be set.", FORMS)
        elif self.where is None:
            yield Problem("socket", f"{self.socket!r} is no address of a filter.", FORMS)
        if not self.roles:
            yield Problem("roles", "is empty, so the filter would see nothing.", 'Write ["mx", "submission"].')
        yield from within(self, 0.1, DIALOGUE_S, "timeout", unit="s")
        yield from within(self, 1, CONTENT_S, "content_timeout", unit="s")

    @property
    def key(self) -> str:
        """What logs call it."""
        return self.name or self.socket

    @property
    def where(self) -> tuple[str, int] | None:
        """Address and port, or the path and 0; None if `socket` is neither. Postfix's `inet:` is understood."""
        if self.socket.startswith("unix:"):
            return (self.socket[5:], 0) if self.socket[5:].startswith("/") else None
        host, colon, port = self.socket.removeprefix("inet:").rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            return None
        return host.removeprefix("[").removesuffix("]"), int(port)


@dataclass(frozen=True, kw_only=True, slots=True)
class MilterConfig:
    """[milter]"""

    filters: tuple[MilterFilter, ...] = setting((), "The filters, in the order in which they see a message.")

    def problems(self) -> Iterator[Problem]:
        """Filters that stand there twice, and more waiting than a dialogue has time for."""
        keys = [one.key for one in self.filters]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                text = f"another filter is called {key!r} too."
                yield Problem(dotted("filters", place), text, "Give each a name of its own.")
        for role in get_args(Role):
            asked = [one for one in self.filters if role in one.roles]
            for name, most in (("timeout", DIALOGUE_S), ("content_timeout", CONTENT_S)):
                together = sum(getattr(one, name) for one in asked)
                if len(asked) > 1 and together > most:
                    text = f"the {name} of all filters for {role} is {number(together)} s, more than {number(most)} s."
                    yield Problem("filters", text, "Give each filter less.")
