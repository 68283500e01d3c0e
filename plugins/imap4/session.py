"""One IMAP connection: greets, hands each command to its function, tells what has changed, and says goodbye.

The commands are in modules by family; each function returns the text of its OK, or raises. `HANDLERS` is the list.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from appliance.config import CoreConfig
from appliance.connection import WAKE, Connection, ConnectionLostError, IdleTimeoutError
from appliance.errors import ApplianceError, NotFoundError, ProtocolError
from appliance.store.model import Account
from appliance.tlslink import TlsError
from plugins.imap4 import (
    acl,
    append,
    basic,
    compress,
    fetch,
    idle,
    login,
    mailboxes,
    metadata,
    multisearch,
    notify,
    opening,
    quota,
    search,
    sort,
    store_flags,
    thread,
    transfer,
)
from plugins.imap4.access import admit, renew
from plugins.imap4.config import Imap4Config
from plugins.imap4.enabled import Enabled
from plugins.imap4.notify import Notifier
from plugins.imap4.numbers import holds_numbers, refuse_numbers
from plugins.imap4.protocol import CONTINUE as CONTINUE_LINE
from plugins.imap4.protocol import BadCommand, Continue, ImapServer, Line
from plugins.imap4.protocol_append import AppendMessage, AppendUrl
from plugins.imap4.protocol_command import Command, Select, State
from plugins.imap4.protocol_respond import tagged, untagged
from plugins.imap4.refusal import refusal_line
from plugins.imap4.selected import Selected
from plugins.imap4.shared import Shared

log = logging.getLogger(__name__)

Handler = Callable[["ImapSession", Any], Awaitable[str]]

HANDLERS: dict[str, Handler] = {
    "CAPABILITY": basic.capability,
    "NOOP": basic.noop,
    "CHECK": basic.check,
    "LOGOUT": basic.logout,
    "ID": basic.identify,
    "ENABLE": basic.enable,
    "NAMESPACE": basic.namespace,
    "STARTTLS": login.starttls,
    "LOGIN": login.login,
    "AUTHENTICATE": login.authenticate,
    "UNAUTHENTICATE": login.unauthenticate,
    "SELECT": opening.select,
    "EXAMINE": opening.select,
    "CLOSE": opening.close,
    "UNSELECT": opening.unselect,
    "CREATE": mailboxes.create,
    "DELETE": mailboxes.delete,
    "RENAME": mailboxes.rename,
    "SUBSCRIBE": mailboxes.subscribe,
    "UNSUBSCRIBE": mailboxes.subscribe,
    "LIST": mailboxes.list_names,
    "LSUB": mailboxes.list_subscribed,
    "STATUS": mailboxes.status,
    "COMPRESS": compress.compress,
    "GETQUOTA": quota.get_quota,
    "GETQUOTAROOT": quota.get_quota_root,
    "SETACL": acl.set_acl,
    "DELETEACL": acl.delete_acl,
    "GETACL": acl.get_acl,
    "LISTRIGHTS": acl.list_rights,
    "MYRIGHTS": acl.my_rights,
    "GETMETADATA": metadata.get_metadata,
    "SETMETADATA": metadata.set_metadata,
    "FETCH": fetch.fetch,
    "SEARCH": search.search,
    "ESEARCH": multisearch.multisearch,
    "SORT": sort.sort,
    "THREAD": thread.thread,
    "STORE": store_flags.store,
    "COPY": transfer.copy,
    "MOVE": transfer.move,
    "EXPUNGE": transfer.expunge,
    "UID EXPUNGE": transfer.expunge,
    "IDLE": idle.idle,
    "NOTIFY": notify.notify,
}


class ImapSession:
    """The state of one connection. Settings are those at its start."""

    __slots__ = (
        "_account",
        "_unwatch",
        "auth_failures",
        "config",
        "connection",
        "core",
        "enabled",
        "errors",
        "hostname",
        "is_idle",
        "machine",
        "notifier",
        "open",
        "selected",
        "session",
        "shared",
    )

    def __init__(self, shared: Shared, connection: Connection) -> None:
        machine = connection.machine
        assert isinstance(machine, ImapServer)
        self.shared = shared
        self.core = shared.core
        self.connection = connection
        self.machine = machine
        self.config = self.core.settings[Imap4Config]
        self.hostname = self.core.settings[CoreConfig].hostname
        self.session = connection.facts("imap")
        self._account: Account | None = None
        self._unwatch: Callable[[], None] | None = None
        self.selected: Selected | None = None
        self.notifier: Notifier | None = None  # once NOTIFY was used
        self.enabled = Enabled()
        self.open = True
        self.is_idle = False
        self.errors = 0  # bad commands in a row
        self.auth_failures = 0

    async def run(self) -> None:
        """Serve until one side ends it. ProtocolError, TlsError and ConnectionLostError are left to the listener."""
        try:
            self.connection.write(basic.greeting(self))
            while self.open:
                timeout = self.config.idle_timeout if self._account else self.config.login_timeout
                await self._handle(await self.connection.next_event(timeout))
        except IdleTimeoutError:
            self.hang_up("Autologout, nothing came for too long")
        except (ProtocolError, ConnectionLostError, TlsError):
            raise
        except Exception:
            self.hang_up("Internal error, closing", "SERVERBUG")
            raise
        finally:
            self.deselect()
            self._leave()

    # ── for the commands ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def account(self) -> Account:
        """The account of the login; commands that are permitted only after it use this."""
        assert self._account is not None
        return self._account

    @property
    def mailbox(self) -> Selected:
        """The selected mailbox; commands that are permitted only with one use this."""
        assert self.selected is not None
        return self.selected

    def log_in(self, account: Account, login_name: str) -> None:
        """Enter the authenticated state. The session must have been admitted."""
        self._account = account
        self.session.account, self.session.login = account.name, login_name
        self.auth_failures = 0
        self.machine.state = State.AUTHENTICATED
        self._unwatch = self.core.store.directory.watch(account.name, self.connection.stop)

    def log_out(self) -> None:
        """Return to the state before the login, with nothing enabled (RFC 8437 section 4)."""
        self.deselect()
        self._leave()
        self.session.account, self.session.login = None, ""
        self.enabled = Enabled()
        self.machine.utf8 = False
        self.machine.state = State.NOT_AUTHENTICATED

    def use_notifier(self, notifier: Notifier) -> None:
        """Tell from now on what `notifier` hears of, and of the selected mailbox what it wants."""
        self.notifier = notifier
        if self.selected is not None:
            self._watch_new(self.selected)
        self.connection.wake()

    def _watch_new(self, selected: Selected) -> None:
        group = None if self.notifier is None else self.notifier.selected
        selected.watch_new(wanted=group is not None and bool(group.items))

    def _leave(self) -> None:
        if self.notifier is not None:
            self.notifier.close()
            self.notifier = None
        if self._account is not None:
            self.shared.leave(self._account.id)
            self._account = None
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    @property
    def rev2(self) -> bool:
        """Whether the client has enabled IMAP4rev2 (RFC 9051)."""
        return self.enabled.rev2

    def enable_condstore(self) -> None:
        """From now on the client hears of modseqs (RFC 7162 section 3.1); first of the one up to which it knows all."""
        if not self.enabled.condstore:
            self.enabled.condstore = True
            if self.selected is not None:
                self.connection.write(self.selected.modseq_line())

    def select(self, selected: Selected) -> None:
        """Enter the selected state."""
        self.selected = selected
        self._watch_new(selected)
        self.machine.state = State.SELECTED

    def deselect(self) -> None:
        """Leave the selected state, if it is that."""
        if self.selected is not None:
            self.selected.close()
            self.selected = None
            self.machine.state = State.AUTHENTICATED

    def wake(self) -> None:
        """Something has changed in the selected mailbox: in IDLE, and with NOTIFY, that is told at once."""
        if self.is_idle or self.notifier is not None:
            self.connection.wake()

    def hang_up(self, text: str, code: str = "") -> None:
        """Say BYE; the connection is closed after that."""
        self.connection.write(untagged("BYE", text, code))
        self.open = False

    async def line(self) -> bytes:
        """Wait for a line that is no command: an answer within AUTHENTICATE."""
        self.machine.expect_line()
        while True:
            event = await self.connection.next_event(self.config.login_timeout)
            if type(event) is Line:
                return event.data

    async def tell_news(self, *, expunges: bool) -> None:
        """Write what has changed, as far as the client wants to hear of it.

        Ends the session when the selected mailbox is gone.
        """
        selected, notifier = self.selected, self.notifier
        if selected is not None and selected.has_news and self._hears(selected):
            try:
                flags = notifier is None or notifier.wants_flags
                self.connection.write(await selected.news(expunges=expunges, flags=flags))
            except NotFoundError:
                self.hang_up("The selected mailbox was deleted")
                return
            if notifier is not None:
                await notifier.tell_arrived(selected)
        if notifier is not None and notifier.has_news:
            await notifier.tell()

    def _hears(self, selected: Selected) -> bool:
        """Whether anything of the selected mailbox is told.

        To a client that wants no events of it, only when it has changed the mailbox itself: its message numbers would
        be wrong else.
        """
        return self.notifier is None or self.notifier.wants_messages or not selected.is_untouched

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _handle(self, event: object) -> None:
        if isinstance(event, Command):
            await self._command(event)
        elif type(event) is Continue:
            self.connection.write(CONTINUE_LINE)
        elif isinstance(event, AppendMessage | AppendUrl):
            await append.append(self, event)
        elif type(event) is BadCommand:
            self.bad(event)
        else:
            assert event is WAKE, event
            if self.notifier is not None:
                renew(self)
                await self.tell_news(expunges=self.notifier.immediate)
        if self.connection.stopping and self.open:
            self.hang_up("The service is shutting down, try again later", "UNAVAILABLE")

    async def _command(self, command: Command) -> None:
        try:
            if self.enabled.uidonly:
                refuse_numbers(command)
            admit(self, command.verb)
            text = await HANDLERS[command.verb](self, command)
        except (ProtocolError, ConnectionLostError, TlsError, IdleTimeoutError):
            raise
        except ApplianceError as error:
            line = refusal_line(command.tag, error)
            if line is None:
                raise
            log.debug("%s: %s", command.verb, error)
            await self.finish(command, line)
            if self.auth_failures >= self.config.max_auth_failures:
                self.hang_up("Too many failed logins")
            return
        if text:
            self.errors = 0
            await self.finish(command, tagged(command.tag, "OK", text))

    async def finish(self, command: Command, line: bytes) -> None:
        """Tell what has changed, then complete the command."""
        if type(command) is not Select:  # what happens while a mailbox is opened is told with the next command
            await self.tell_news(expunges=not holds_numbers(command))
        if self.open or command.verb == "LOGOUT":
            self.connection.write(line)
        immediate = self.notifier is not None and self.notifier.immediate
        if immediate and self.selected is not None and self.selected.holds_expunges:
            self.connection.wake()  # what this command had to hold back

    def bad(self, event: BadCommand) -> None:
        """Answer a command that cannot be read; too many in a row end the session."""
        self.connection.write(tagged(event.tag, "BAD", event.text, "TOOBIG" if event.too_big else ""))
        self.errors += 1
        if self.errors > self.config.max_errors:
            self.hang_up("Too many bad commands")
