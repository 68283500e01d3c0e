"""The settings of servers that know each other: those with mailboxes, and those before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.config import Bind, domain_name, host_name, setting, within
from appliance.document import dotted
from appliance.errors import Problem
from appliance.mail.address import Address
from appliance.mail.selector import selector_problem, selects

PORT = 6425
LEAST_SECRET = 20  # characters: nobody can guess them, even with a recorded login at hand

_SECRET_REMEDY = "`palomar peers secret` makes one; both servers need the same."


@dataclass(frozen=True, kw_only=True, slots=True)
class Behind:
    """[[peers.behind]]: a server with mailboxes, before which this one stands."""

    name: str = setting("", "Its name, by which it logs in here: its `hostname`.")
    recipients: tuple[str, ...] = setting(
        (), 'Whose mail it gets: addresses, domains ("office.test") or subdomains ("*.office.test").'
    )
    kind: Literal["backup", "relay"] = setting(
        "backup", "backup: DNS prefers it to us, and its mail waits here for weeks; relay: it gets all of it from us."
    )
    host: str = setting("", "Host or address that gets the mail; empty takes name. A backup may leave it to DNS: -.")
    tls: Literal["", "off", "opportunistic", "required", "verified"] = setting(
        "", "TLS to it; empty takes that of the role relay."
    )
    secret: str = setting("", "The secret common with it; with one, a list of recipients is awaited.", secret=True)
    secret_file: Path | None = setting(None, "File whose first line is the secret, instead of secret.")
    recipients_file: Path | None = setting(
        None, 'File with its recipients, one a line ("@office.test": every one of that domain), read when it changes.'
    )

    def problems(self) -> Iterator[Problem]:
        """Names and selectors that are none, and secrets that are missing or too short."""
        yield from domain_name("name", self.name)
        if self.host not in ("", "-"):
            yield from host_name("host", self.host)
        if self.host == "-" and self.kind == "relay":
            yield Problem("host", "must be set for a relay.", "DNS leads its mail to us: name the host behind us.")
        if not self.recipients:
            yield Problem("recipients", "must not be empty.", 'Write its domains, like ["office.test"].')
        for selector in self.recipients:
            yield from selector_problem("recipients", selector)
        yield from _secret_problems(self.secret, self.secret_file, needed=False)

    @property
    def is_checked(self) -> bool:
        """Whether unknown recipients can be refused here."""
        return bool(self.secret or self.secret_file or self.recipients_file)

    def takes(self, address: Address) -> bool:
        """Whether its mail is for this server."""
        return any(selects(selector, address) for selector in self.recipients)

    def serves(self, domain: str) -> bool:
        """Whether any recipient of the domain may be this server's: so it may send a list of it."""
        return any(
            selector.rpartition("@")[2] == domain if "@" in selector else selects(selector, Address("x", domain))
            for selector in self.recipients
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """[[peers.before]]: a server that stands before this one, and is told who gets mail here."""

    host: str = setting("", "Its host name or address.")
    port: int = setting(PORT, "Its port, as in its `listen`.")
    name: str = setting("", "Our name there; empty takes hostname.")
    domains: tuple[str, ...] = setting((), "Domains that it is told of; empty: all whose mailboxes are here.")
    secret: str = setting("", "The secret common with it.", secret=True)
    secret_file: Path | None = setting(None, "File whose first line is the secret, instead of secret.")

    def problems(self) -> Iterator[Problem]:
        """Names that are none, and a secret that is missing or too short."""
        yield from host_name("host", self.host)
        yield from within(self, 1, 65_535, "port")
        if self.name:
            yield from domain_name("name", self.name)
        for domain in self.domains:
            yield from domain_name("domains", domain)
        yield from _secret_problems(self.secret, self.secret_file, needed=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeersConfig:
    """[peers]"""

    listen: tuple[Bind, ...] = setting(
        (), f'Where servers behind us bring their lists, such as [":{PORT}"]. A list of host:port; empty: nowhere.'
    )
    behind: tuple[Behind, ...] = setting(
        (), "Servers before which this one stands. The first that takes a mail gets it."
    )
    before: tuple[Before, ...] = setting((), "Servers before this one, which are told who gets mail here.")
    stale_after_days: float = setting(
        7.0, "Days after which a list that was not confirmed counts no more against recipients that are not in it."
    )
    when_unsure: Literal["defer", "accept"] = setting(
        "defer", "What happens then, and before the first list, to recipients that are not known: 450, or taken."
    )
    look: float = setting(10.0, "Seconds between two looks whether our own list has changed.")

    def problems(self) -> Iterator[Problem]:
        """Numbers out of bounds, and names that stand twice."""
        yield from within(self, 0.01, 365, "stale_after_days", unit="days")
        yield from within(self, 0.1, 3600, "look", unit="s")
        names = [one.name.lower() for one in self.behind]
        for place, name in enumerate(names):
            if name in names[:place]:
                text = f"{name!r} stands there already."
                yield Problem(dotted("behind", place, "name"), text, "One entry holds all of its recipients.")

    def behind_named(self, name: str) -> Behind | None:
        """The server behind us of that name."""
        return next((one for one in self.behind if one.name.lower() == name.lower()), None)


class SecretError(ValueError):
    """A secret cannot be read, or is too short; the text says which and why."""


def secret_of(peer: Behind | Before) -> str:
    """The secret common with a peer; a file is read anew each time. Raises SecretError."""
    if peer.secret_file is None:
        return peer.secret
    try:
        secret = peer.secret_file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"secret_file {peer.secret_file}: {error}") from error
    if len(secret) < LEAST_SECRET:
        raise SecretError(f"secret_file {peer.secret_file}: its first line has less than {LEAST_SECRET} characters")
    return secret


def _secret_problems(secret: str, file: Path | None, *, needed: bool) -> Iterator[Problem]:
    if secret and file is not None:
        yield Problem("secret", "and secret_file are both set.", "Take one of them out.")
    elif needed and not secret and file is None:
        yield Problem("secret", "is missing.", _SECRET_REMEDY)
    elif secret and len(secret) < LEAST_SECRET:
        yield Problem("secret", f"has less than {LEAST_SECRET} characters.", _SECRET_REMEDY)
