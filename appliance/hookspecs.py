"""Every hook on one page: this is the plugin API.

A plugin is a module (or package) with functions marked `@hookimpl`. A function takes only the arguments it needs,
by the names given here. The colour is fixed: `async def` hooks are awaited, `def` hooks are called once at start-up.
How the answers of several plugins are combined, how long a call may take and what happens when a plugin fails is
declared beside each hook and enforced by `appliance.dispatch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

import pluggy

if TYPE_CHECKING:
    import click

    from appliance.auth import Credential, SaslMachine, SaslMechanism
    from appliance.config import Section
    from appliance.core import Core
    from appliance.dns import MxHost
    from appliance.mail.address import Address
    from appliance.mail.companion import Companion
    from appliance.mail.delivery import Outcome, Route
    from appliance.mail.edited import Edited
    from appliance.mail.envelope import Envelope, Recipient
    from appliance.mail.finding import Finding, Judgement
    from appliance.mail.known import KnownRecipient
    from appliance.mail.message import Message
    from appliance.mail.reply import Reply
    from appliance.mail.session import Session
    from appliance.smtpclient import Hop, HopError, SmtpClient
    from appliance.store import Accepted, Account, Filing, QueuedMessage, QueueEntry
    from appliance.store.schema import Migration


class DnsRecord(NamedTuple):
    """One record that ought to be in DNS."""

    name: str  # with its domain, without the final dot
    type: str  # TXT, TLSA, CNAME, …
    value: str  # as a zone file writes it; TXT without quotes
    purpose: str  # what it is good for, in a few words


F = TypeVar("F", bound=Callable[..., Any])
Combine = Literal["list", "severest", "first", "join", "chain", "collect", "notify"]
Level = Literal["info", "warning", "error"]
StatusLine = tuple[str, str] | tuple[str, str, Level]
OnFailure = Literal["stop", "keep", "reply451", "reply454", "finding", "as_received", "defer", "log"]

hookimpl = pluggy.HookimplMarker("palomar")
_spec = pluggy.HookspecMarker("palomar")


class Rule(Protocol):
    """What `dispatch` reads from a hook specification."""

    combine: Combine
    on_failure: OnFailure
    deadline: float


def hookspec(combine: Combine, on_failure: OnFailure, *, deadline: float = 30.0) -> Callable[[F], F]:
    """Declare a hook with its rule. `deadline` is in seconds and counts per plugin and call."""

    def mark(function: F) -> F:
        function.rule_combine = combine  # type: ignore[attr-defined]
        function.rule_on_failure = on_failure  # type: ignore[attr-defined]
        function.rule_deadline = deadline  # type: ignore[attr-defined]
        return _spec(function)

    return mark


class Service(Protocol):
    """Something long-lived that a plugin brings: a listener, a poller, a cleaner.

    The supervisor starts services in the order of `after`, waits until each calls `ready()`, restarts one that
    raises with growing pauses, and cancels them in reverse order; `run` then finishes replies in flight and returns.
    """

    name: str
    after: Sequence[str]

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until cancelled. Call `ready` once, when the service can be used."""

    async def reload(self) -> None:
        """Take over the changed configuration (SIGHUP) without dropping connections."""


class Transport(Protocol):
    """A way out of the queue, chosen by `Route.transport`."""

    name: str

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Message, route: Route
    ) -> list[Outcome]:
        """Try once to deliver to `recipients`, which share `route`. Return exactly one Outcome per recipient.

        Raise nothing for what the peer did: that is an outcome. An exception defers all recipients.
        """


class Protection(Protocol):
    """What is known about the TLS of one domain: good for the connections of one attempt.

    As an `Observer` (`appliance.smtpclient`) it also hears of every connection and every host that failed.
    """

    async def harden(self, host: MxHost, hop: Hop) -> Hop:
        """The terms for one exchanger, never weaker than `hop`. Raise HopError if the host must not be used."""

    def connected(self, client: SmtpClient) -> None:
        """A connection is ready for MAIL. Raise HopError, and it is not used."""

    def failed(self, client: SmtpClient, error: HopError) -> None:
        """A connection was made and did not come that far; the client tells on which terms and between whom."""


class FilingTransport(Protocol):
    """A way out of the queue that ends in the store itself, where delivery and settlement are one transaction."""

    name: str

    async def deliver_queued(
        self, envelope: Envelope, queued: QueuedMessage, entries: Sequence[QueueEntry], message: Message
    ) -> list[Outcome]:
        """Try once to deliver to the recipients of `entries`, with the rules of `Transport.deliver`.

        Settle the entry of whoever is delivered, by `Intake.deliver_locally` or `Store.accept(settles=…)`.
        """


# ── at start-up ───────────────────────────────────────────────────────────────────────────────────────────────────


@hookspec("list", "stop")
def settings() -> Sequence[Section]:
    """The plugin's tables in `palomar.toml`: each a name and a frozen dataclass with `setting()` fields."""
    raise AssertionError


@hookspec("list", "stop")
def migrations() -> Sequence[Migration]:
    """Steps that make and change the plugin's own tables; additive, in order, never edited once shipped."""
    raise AssertionError


@hookspec("list", "stop")
def commands() -> Sequence[click.Command]:
    """Commands that the plugin adds to `palomar`."""
    raise AssertionError


@hookspec("list", "stop")
def calls() -> Sequence[tuple[str, Callable[..., Any]]]:
    """What the plugin's commands can ask of the running appliance, by name: `async def call(core, *, …)`.

    A command says `palomar.call(name, …)`, where `palomar` comes by `click.pass_obj`; arguments and answer are JSON.
    Names begin with the plugin's: "tickets.list".
    """
    raise AssertionError


@hookspec("list", "stop")
def hooks(core: Core) -> Sequence[object]:
    """Objects with further `@hookimpl` methods: the place for hooks that need the core (store, settings, resolver).

    They are registered under the plugin's name and keep its place in the order.
    """
    raise AssertionError


@hookspec("list", "stop")
def services(core: Core) -> Sequence[Service]:
    """The plugin's long-lived services, made from the finished core."""
    raise AssertionError


@hookspec("list", "stop")
def transports(core: Core) -> Sequence[Transport | FilingTransport]:
    """The ways out of the queue that the plugin brings."""
    raise AssertionError


@hookspec("list", "stop")
def smtp_extensions(core: Core) -> Sequence[str]:
    """EHLO lines to announce besides those of the SMTP role itself; the plugin must serve what it announces."""
    raise AssertionError


@hookspec("list", "stop")
def sasl_mechanisms(core: Core) -> Sequence[SaslMechanism | SaslMachine]:
    """SASL mechanisms besides the core's PLAIN, LOGIN, SCRAM, CRAM-MD5 and EXTERNAL.

    A SaslMachine knows the grammar of a mechanism that proves a password: verifiers are looked up for it, and failures
    counted. A SaslMechanism decides by itself whose login it is.
    """
    raise AssertionError


@hookspec("list", "stop")
def web_pages(core: Core) -> Sequence[object]:
    """Routes for the web role. Their type is that role's own; the core only collects them."""
    raise AssertionError


@hookspec("list", "log")
def dns_records(core: Core, domain: str) -> Sequence[DnsRecord]:
    """Records that a domain of ours should have in DNS for the plugin's sake: `palomar domain dns` shows them."""
    raise AssertionError


@hookspec("list", "log")
def status(core: Core) -> Sequence[StatusLine]:
    """Lines (label, value) for the status overview: `palomar status`, the console, the web page.

    A third word, "warning" or "error", says that somebody should do something about it; without one it is "info".
    """
    raise AssertionError


# ── in the SMTP dialogue ──────────────────────────────────────────────────────────────────────────────────────────


@hookspec("severest", "reply451", deadline=10)
async def smtp_connect(session: Session) -> Reply | None:
    """Refuse or defer a peer before the greeting. Only 4yz and 5yz replies are allowed; None means no opinion.

    `await session.quiet(seconds)` waits with the peer and returns whether it kept silent, as it must (RFC 5321
    section 4.3.1).
    """


@hookspec("severest", "reply451", deadline=10)
async def smtp_helo(session: Session) -> Reply | None:
    """Refuse or defer after EHLO, HELO or LHLO, when `session.helo` is known."""


@hookspec("severest", "reply451", deadline=20)
async def smtp_sender(session: Session, envelope: Envelope) -> Reply | None:
    """Refuse or defer MAIL FROM; `envelope.sender` is set and may be None, the null sender."""


@hookspec("first", "log", deadline=10)
async def known_sender(
    session: Session, envelope: Envelope, recipient: Recipient, sender: Address
) -> Literal[True] | None:
    """Say that whom `recipient` stands for has written to `sender` before, so that its mail need not wait.

    Nothing proves that it is the sender: it is no reason to trust a message, only to let it in without delay.
    """


@hookspec("severest", "reply451", deadline=20)
async def smtp_recipient(session: Session, envelope: Envelope, recipient: Recipient) -> Reply | None:
    """Refuse or defer one RCPT TO that would be taken, before it is answered.

    All implementations run; the most severe reply wins; None means no opinion. Accepting is not theirs:
    `own_recipient` and the relay rule have done that, so no plugin can open a relay.
    """


@hookspec("first", "log", deadline=30)
async def smtp_refused(session: Session, reply: Reply) -> Reply | None:
    """A command has been refused; `reply` (4yz or 5yz) leaves when all plugins have answered, so one may take its time.

    A Reply with code 421 says goodbye: it is sent after the refusal, and the connection ends. None lets it go on.
    """


@hookspec("notify", "log", deadline=10)
async def smtp_disconnect(session: Session) -> None:
    """A connection that was greeted, or refused at the greeting, is over: give back what is kept for it."""


@hookspec("first", "reply451", deadline=20)
async def own_recipient(recipient: Recipient) -> Literal["local", "backup", "relay"] | None:
    """Say that the recipient's domain is ours, and how. If nobody does, only the relay rule lets it through."""


@hookspec("join", "keep", deadline=60)
async def known_recipients() -> Sequence[KnownRecipient] | None:
    """List who gets mail here, so that servers before this one can refuse all others of these domains themselves.

    The answers of all plugins are joined; whoever brings recipients of domains of ours (lists, redirects) names them.
    """


# ── accounts ──────────────────────────────────────────────────────────────────────────────────────────────────────


@hookspec("first", "reply454", deadline=20)
async def find_credentials(login: str) -> Sequence[Credential] | None:
    """Return the stored verifiers of a login name, or None if it is not known here."""


@hookspec("first", "reply454", deadline=20)
async def verify_password(login: str, password: str) -> str | None:
    """Check a password against an external back end. Return the account's name, or None for "not mine or wrong"."""


# ── the accept path ───────────────────────────────────────────────────────────────────────────────────────────────


@hookspec("chain", "reply451", deadline=60)
async def message_received(session: Session, envelope: Envelope, message: Message) -> Message | Edited | Reply | None:
    """See or change a message that has just arrived (milters). A Reply refuses it; None leaves it as it is.

    The envelope is for reading; `Edited` gives it another sender or other recipients, which are routed as those of
    our own mail are. Without any the message is thrown away, and the peer hears 250.
    """


@hookspec("chain", "log", deadline=60)
async def message_written(envelope: Envelope, message: Message) -> Message | None:
    """See or change what the appliance itself has written, before anything is done with it: bounces, reports, alarms.

    The envelope has its recipients. To sign is what this is for: no failure keeps such a message back.
    """


@hookspec("collect", "finding", deadline=30)
async def authenticate_message(
    session: Session,
    envelope: Envelope,
    message: Message,
    phase: Literal["mechanisms", "policy"],
    findings: Sequence[Finding],
) -> Sequence[Finding] | None:
    """Authenticate a stranger: first all mechanisms (SPF, DKIM, ARC), then policy (DMARC) on their findings.

    Not asked of mail that came to another port than the MX, from people or networks of ours, or from programs here.
    """


@hookspec("join", "log", deadline=55)
async def message_texts(session: Session, envelope: Envelope, message: Message) -> Sequence[str] | None:
    """Texts that people read in a message and that do not stand in it as text: in images, perhaps in documents.

    Asked before `score_message`, which gets the texts of all plugins. Keep them short: filters read what people see.
    """


@hookspec("collect", "finding", deadline=60)
async def score_message(
    session: Session, envelope: Envelope, message: Message, findings: Sequence[Finding], texts: Sequence[str]
) -> Sequence[Finding] | None:
    """Judge the content. `findings` holds what authentication found, `texts` what `message_texts` has read."""


@hookspec("collect", "finding", deadline=30)
async def score_recipient(
    session: Session,
    envelope: Envelope,
    recipient: Recipient,
    account: Account | None,
    message: Message,
    findings: Sequence[Finding],
) -> Sequence[Finding] | None:
    """Judge the message for one recipient: by what its account has listed and learnt. `findings` are the message's.

    `account` is None for whom we pass the message on to. Asked only of mail that filters had something to say about.
    """


@hookspec("first", "log", deadline=10)
async def judge_recipient(
    recipient: Recipient, account: Account | None, findings: Sequence[Finding]
) -> Judgement | None:
    """Conclude from all findings, the recipient's own included, what is done with the message for one recipient.

    If nobody does, the severest action that a finding demands is taken. Whoever refuses or defers a message that
    others take gets it in Junk, or later, since DATA has one reply; LMTP has one for each.
    """


@hookspec("first", "defer", deadline=20)
async def expand_recipient(recipient: Recipient) -> Sequence[Recipient] | None:
    """Replace one recipient by others (alias, list, redirect). None means: this recipient stays as it is."""


@hookspec("first", "defer", deadline=20)
async def route_recipient(session: Session, envelope: Envelope, recipient: Recipient) -> Route | Reply | None:
    """Choose the way for one expanded recipient, or refuse it with words (an unknown user, a quota).

    The session has role `local` for mail of our own, and when the queue looks for a way again.
    """


@hookspec("chain", "as_received", deadline=60)
async def transform_inbound(message: Message, account: Account, findings: Sequence[Finding]) -> Message | None:
    """Make the variant of the message that is filed for one account (decryption). The shared bytes stay as received."""


@hookspec("first", "defer", deadline=60)
async def file_message(
    envelope: Envelope, recipient: Recipient, account: Account, message: Message, findings: Sequence[Finding]
) -> Sequence[Filing] | Reply | None:
    """Decide in which mailboxes of one local account the message is filed. None leaves it to the next plugin."""


@hookspec("collect", "log", deadline=30)
async def copies(
    session: Session,
    envelope: Envelope,
    message: Message,
    recipients: Sequence[Recipient],
    accounts: Sequence[str],
) -> Sequence[Companion] | None:
    """Messages that are stored in the same transaction as one that is about to be accepted: a journal.

    `recipients` are those that aliases and redirects led to, `accounts` the names of the accounts here that get it.
    What a copy's own recipient is refused waits in the queue; neither that nor a failure here touches the message.
    """


@hookspec("first", "defer", deadline=20)
async def outbound_sender(envelope: Envelope, via: str, route: Route) -> Address | None:
    """Give what leaves by one route another envelope sender; never asked about the null sender.

    `via` is the address of ours that sent the message on to all of `envelope.recipients`, or empty. Notifications of
    our own queue go to `envelope.sender` in any case.
    """


@hookspec("chain", "defer", deadline=120)
async def transform_outbound(envelope: Envelope, message: Message, route: Route) -> Message | None:
    """Change what leaves by one route (encrypt, then sign). A failure defers: nothing leaves in clear by accident."""


@hookspec("first", "defer", deadline=60)
async def protect_domain(domain: str) -> Protection | None:
    """Say what TLS to the exchangers of a domain must be, before a connection is made; asked beside their names.

    Not asked for connections that are used again, hosts that an administrator named, and messages whose sender puts
    arriving first ("TLS-Required: No", RFC 8689 section 5). None means no opinion.
    """


# ── afterwards ────────────────────────────────────────────────────────────────────────────────────────────────────


@hookspec("notify", "log", deadline=10)
async def message_accepted(session: Session, envelope: Envelope, accepted: Accepted) -> None:
    """A message is safely stored; its 250 is on the way."""


@hookspec("notify", "log", deadline=10)
async def message_moved(account: str, source: str, target: str, uids: Sequence[int]) -> None:
    """Messages went from one mailbox to another by a client's wish (training data for filters).

    `account` is who did it, the names are those that it knows the mailboxes by: one of another account begins with
    `Other Users/` or `Shared Folders/`. `uids` are those in the target mailbox.
    """


@hookspec("notify", "log", deadline=10)
async def message_released(account: str, message: Message, header: bytes) -> None:
    """A person let mail go that filters had held for an account, and so said that it is no spam (training data).

    `header` are the lines in front of `message` that the judge has for it: what was found stands in them.
    """


@hookspec("notify", "log", deadline=10)
async def message_expunged(account: str, mailbox: str, uids: Sequence[int]) -> None:
    """Messages were removed from a mailbox for good; `account` and name as for `message_moved`."""


@hookspec("notify", "log", deadline=10)
async def delivery_settled(envelope: Envelope, outcome: Outcome) -> None:
    """One recipient of a queued message is delivered or has failed for good."""


@hookspec("notify", "log", deadline=10)
async def login_failed(session: Session, login: str) -> None:
    """A login was refused."""


@hookspec("notify", "log", deadline=10)
async def network_changed(addresses: Sequence[str]) -> None:
    """The machine's addresses changed."""
