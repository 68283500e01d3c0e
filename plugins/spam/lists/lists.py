"""The hooks: who is refused, who is trusted, and who is known to the recipient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from appliance.core import Core
from appliance.errors import AddressError, NotFoundError, StoreError
from appliance.flusher import Flusher
from appliance.hookspecs import Service, hookimpl
from appliance.mail.address import Address
from appliance.mail.addresslist import address_list
from appliance.mail.authors import read_authors
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding
from appliance.mail.idna import to_ascii
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.store import Account
from plugins.spam.lists import correspondents
from plugins.spam.lists.config import ListsConfig
from plugins.spam.lists.correspondents import DAY_S, Correspondents
from plugins.spam.lists.patterns import keys_of, parse_pattern
from plugins.spam.lists.schema import MAX_ENTRIES, Entry, Kind, list_entries, put_entry, remove_entry

OFFICE = 0  # the owner of entries that are everybody's
MAX_AUTHORS = 10
PROOFS = frozenset(("spf", "dkim", "dmarc"))

REFUSED = Reply(550, "5.7.1", "Mail from you is not wanted here")


class Lists:
    """Lists of the office and of each account, and what accounts know by writing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known = Correspondents()
        self._entries: dict[int, dict[str, Kind]] | None = None
        core.store.soft.add(correspondents.MIGRATIONS)

    # ── the office's lists ────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def smtp_sender(self, session: Session, envelope: Envelope) -> Reply | None:
        """Refuse at MAIL what the office has listed: an address, a domain, or the peer's network."""
        if not self._core.intake.router.from_outside(session):
            return None
        senders = [envelope.sender] if envelope.sender is not None else []
        return REFUSED if self._listed(OFFICE, keys_of(senders, session.peer_ip)) == "deny" else None

    @hookimpl
    async def score_message(
        self, session: Session, envelope: Envelope, message: Message, findings: Sequence[Finding]
    ) -> Sequence[Finding] | None:
        """The author, and what the office allows."""
        if not self._core.intake.router.from_outside(session):
            return None
        return self._found(OFFICE, "the office", session, envelope, message, findings)

    # ── an account's lists ────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def score_recipient(
        self,
        session: Session,
        envelope: Envelope,
        account: Account | None,
        message: Message,
        findings: Sequence[Finding],
    ) -> Sequence[Finding] | None:
        """What the account has listed, and whether it has written to this sender."""
        if account is None or not self._core.intake.router.from_outside(session):
            return None
        found = list(self._found(account.id, account.name, session, envelope, message, findings))
        config = self._core.settings[ListsConfig]
        if config.known_days and not found:
            for address in proven_senders(envelope, message, findings):
                if self._knows(account.name, address):
                    text = f"{account.name} has written to {address} before"
                    return [Finding("known", "yes", config.known_score, text)]
        return found

    @hookimpl
    async def known_sender(
        self, session: Session, envelope: Envelope, recipient: Recipient, sender: Address
    ) -> Literal[True] | None:
        """Whether an account that gets the recipient's mail has written to that address."""
        if not self._core.settings[ListsConfig].known_days:
            return None
        routed = await self._core.intake.router.resolve(session, envelope, recipient)
        if isinstance(routed, Reply):
            return None
        accounts = {one.route.next_hop for one in routed if one.route.transport == "local"}
        return True if any(self._knows(account, sender) for account in accounts) else None

    @hookimpl
    async def message_accepted(self, session: Session, envelope: Envelope) -> None:
        """Remember to whom people of ours write."""
        if session.account is None or not self._core.settings[ListsConfig].known_days:
            return
        day = int(self._core.now() // DAY_S)
        for recipient in envelope.recipients[:100]:
            self._known.note(session.account, recipient.address.key, day)

    def _knows(self, account: str, address: Address) -> bool:
        since = int((self._core.now() - self._core.settings[ListsConfig].known_days * DAY_S) // DAY_S)
        return self._known.knows(account, address.key, since)

    def _found(
        self,
        owner: int,
        whose: str,
        session: Session,
        envelope: Envelope,
        message: Message,
        findings: Sequence[Finding],
    ) -> list[Finding]:
        senders = [*authors(message), *([envelope.sender] if envelope.sender is not None else [])]
        kind = self._listed(owner, keys_of(senders, session.peer_ip))
        if kind is None:
            return []
        if kind == "deny":
            return [Finding("lists", "deny", text=f"{whose} does not want mail from this sender", action="refuse")]
        config = self._core.settings[ListsConfig]
        proven = proven_senders(envelope, message, findings)
        if self._listed(owner, keys_of(proven, session.peer_ip)) == "allow":
            return [Finding("lists", "allow", config.allow_score, f"{whose} trusts this sender")]
        text = f"{whose} trusts this sender, but nothing proves that it is the sender"
        return [Finding("lists", "unproven", config.unproven_score, text)]

    def _listed(self, owner: int, keys: Iterable[str]) -> Kind | None:
        """What the narrowest entry says."""
        entries = self._all().get(owner)
        if not entries:
            return None
        return next((kind for key in keys if (kind := entries.get(key)) is not None), None)

    def _all(self) -> dict[int, dict[str, Kind]]:
        if self._entries is None:
            made: dict[int, dict[str, Kind]] = {}
            for entry in self._core.store.peek(list_entries):
                made.setdefault(entry.owner, {})[entry.pattern] = entry.kind
            config, office = self._core.settings[ListsConfig], made.setdefault(OFFICE, {})
            for text in config.allow:
                office[parse_pattern(text)] = "allow"
            for text in config.deny:
                office[parse_pattern(text)] = "deny"
            self._entries = made
        return self._entries

    # ── what commands ask ─────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def calls(self) -> Sequence[tuple[str, Callable[..., Any]]]:
        """What `palomar lists` asks."""
        return [("spamlists.list", self._list), ("spamlists.put", self._put), ("spamlists.remove", self._remove)]

    async def _list(self, core: Core, *, account: str = "") -> list[dict[str, Any]]:
        owner = self._owner(account)
        return [
            {"pattern": one.pattern, "kind": one.kind, "note": one.note, "made_at": one.made_at}
            for one in await core.store.read(list_entries)
            if one.owner == owner
        ]

    async def _put(self, core: Core, *, kind: Kind, pattern: str, account: str = "", note: str = "") -> str:
        entry = Entry(self._owner(account), parse_pattern(pattern), kind, note, int(core.now()))
        if not await core.store.write(lambda db: put_entry(db, entry)):
            raise StoreError(f"there are {MAX_ENTRIES} entries already")
        self._entries = None
        return entry.pattern

    async def _remove(self, core: Core, *, pattern: str, account: str = "") -> None:
        owner, key = self._owner(account), parse_pattern(pattern)
        if not await core.store.write(lambda db: remove_entry(db, owner, key)):
            raise NotFoundError(f"{key} is not listed")
        self._entries = None

    def _owner(self, account: str) -> int:
        return self._core.store.directory.require_account(account).id if account else OFFICE

    # ── the service ───────────────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def services(self, core: Core) -> Sequence[Service]:
        """What writes down whom people write to."""
        return [Flusher("spam.lists", self.load, self.flush, changed=self._forget)]

    async def load(self) -> None:
        """Read whom people have written to before this run."""
        self._known.load(await self._core.store.soft.read(correspondents.read) or ())

    def _forget(self) -> None:
        self._entries = None

    async def flush(self) -> None:
        """Write down what has changed."""
        if rows := self._known.take_touched():
            oldest = int((self._core.now() - self._core.settings[ListsConfig].known_days * DAY_S) // DAY_S)
            await self._core.store.soft.write(lambda db: correspondents.write(db, rows, oldest))


def authors(message: Message) -> list[Address]:
    """The addresses in From that are some."""
    made: list[Address] = []
    for field in message.get_all(b"from")[:MAX_AUTHORS]:
        for one in address_list(field)[:MAX_AUTHORS]:
            if one.local is None or one.domain is None:
                continue
            try:
                made.append(Address.parse(f"{one.local.decode()}@{one.domain.decode()}"))
            except (AddressError, UnicodeDecodeError):
                continue
    return made[:MAX_AUTHORS]


def proven_senders(envelope: Envelope, message: Message, findings: Sequence[Finding]) -> list[Address]:
    """Authors and senders whose domain a passed check speaks for, or one above it."""
    domains = {one.domain for one in findings if one.name in PROOFS and one.result == "pass" and one.domain}
    clear = not read_authors(message).problem  # else its reader may see another author than the one that is proven
    everybody = [*(authors(message) if clear else []), *([envelope.sender] if envelope.sender is not None else [])]
    return [one for one in everybody if any(f".{to_ascii(one.domain)}".endswith(f".{domain}") for domain in domains)]
