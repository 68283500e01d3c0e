"""How the answers of several plugins are awaited and combined, and what happens when one of them fails.

pluggy declares and orders the hooks; it cannot await them. Here each hook has its combination, its deadline and its
failure rule, all read from `appliance.hookspecs`. A plugin's error never escapes: it becomes the hook's safe answer,
and the log names plugin and hook.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import types
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import pluggy

from appliance import hookspecs
from appliance.auth import Credential
from appliance.config import Section
from appliance.errors import PluginError
from appliance.hookspecs import Combine, DnsRecord, Level, OnFailure, Protection
from appliance.loading import register
from appliance.mail.address import Address
from appliance.mail.companion import Companion
from appliance.mail.delivery import Outcome, Route
from appliance.mail.edited import Edited
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding, Judgement
from appliance.mail.known import KnownRecipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply, most_severe
from appliance.mail.session import Session
from appliance.store.model import Accepted, Account, Filing
from appliance.store.schema import Migration

log = logging.getLogger(__name__)

T = TypeVar("T")
Check = Callable[[Any], bool]

_TRY_LATER = "Local error in processing, try again later"


class HookFailedError(PluginError):
    """A plugin raised, passed its deadline or answered nonsense; `reply` is what the peer may be told."""

    def __init__(self, text: str, reply: Reply) -> None:
        super().__init__(text)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Implementation:
    """One plugin's function for one hook."""

    plugin: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    absence: Literal["ignore", "defer"]


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook with its rule and its implementations in calling order."""

    name: str
    combine: Combine
    on_failure: OnFailure
    deadline: float
    implementations: tuple[Implementation, ...]


def hooks_of(manager: pluggy.PluginManager) -> dict[str, Hook]:
    """Read every specified hook and who implements it.

    Those called first, then the others, then those called last; within each, in the order of the plugins' names.
    """
    names = [name for name, _ in manager.list_name_plugin() if "#" not in name]
    places = {name: -number for number, name in enumerate(names)}  # pluggy calls the last registered first
    hooks = {}
    for name in dir(hookspecs):
        spec = getattr(hookspecs, name)
        if not hasattr(spec, "rule_combine"):
            continue
        caller = getattr(manager.hook, name)
        found = [(i.plugin_name.partition("#")[0], i) for i in reversed(caller.get_hookimpls())]
        found.sort(key=lambda one: (one[1].trylast - one[1].tryfirst, places.get(one[0], 0)))
        implementations = tuple(
            Implementation(plugin, i.function, tuple(i.argnames), getattr(i.plugin, "ABSENCE", "ignore"))
            for plugin, i in found
        )
        hooks[name] = Hook(name, spec.rule_combine, spec.rule_on_failure, spec.rule_deadline, implementations)
    return hooks


class Dispatch:
    """Calls hooks. One method per awaited hook; `gather` for those of start-up."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager
        self._hooks = hooks_of(manager)
        self._background: set[asyncio.Task[None]] = set()

    # ── start-up ──────────────────────────────────────────────────────────────────────────────────────────────────

    def gather(self, name: str, **arguments: object) -> list[tuple[str, Any]]:
        """Call a `def` hook of every plugin; (plugin, item) for each item of each answer.

        Raises PluginError when one fails: the appliance does not start half.
        """
        found: list[tuple[str, Any]] = []
        for one in self._hooks[name].implementations:
            try:
                found += _items(name, one, arguments)
            except PluginError:
                if self._hooks[name].on_failure != "log":
                    raise
                log.exception("plugin %s failed in %s", one.plugin, name)
        return found

    def sections(self) -> tuple[list[Section], list[tuple[str, str]]]:
        """What `settings` brings; and (plugin, what is wrong) for each that fails, so that all can be told at once."""
        sections: list[Section] = []
        broken = []
        for one in self._hooks["settings"].implementations:
            try:
                sections += [section for _, section in _items("settings", one, {})]
            except PluginError as error:
                broken.append((one.plugin, f"failed in settings: {error.__cause__!r}"))
        return sections, broken

    def attach(self, core: object) -> None:
        """Register what the plugins' `hooks(core)` return. Raises PluginError."""
        for plugin, found in reversed(self.gather("hooks", core=core)):  # pluggy calls the last registered first
            try:
                register(self._manager, f"{plugin}#{id(found)}", found)
            except PluginError as error:
                raise PluginError(f"plugin {plugin!r} failed in hooks: {error}") from error
        self._hooks = hooks_of(self._manager)

    # ── the SMTP dialogue ─────────────────────────────────────────────────────────────────────────────────────────

    async def smtp_connect(self, *, session: Session) -> Reply | None:
        """See `hookspecs.smtp_connect`."""
        return await self._severest("smtp_connect", {"session": session})

    async def smtp_helo(self, *, session: Session) -> Reply | None:
        """See `hookspecs.smtp_helo`."""
        return await self._severest("smtp_helo", {"session": session})

    async def smtp_sender(self, *, session: Session, envelope: Envelope) -> Reply | None:
        """See `hookspecs.smtp_sender`."""
        return await self._severest("smtp_sender", {"session": session, "envelope": envelope})

    async def smtp_recipient(self, *, session: Session, envelope: Envelope, recipient: Recipient) -> Reply | None:
        """See `hookspecs.smtp_recipient`."""
        arguments = {"session": session, "envelope": envelope, "recipient": recipient}
        return await self._severest("smtp_recipient", arguments)

    async def known_sender(
        self, *, session: Session, envelope: Envelope, recipient: Recipient, sender: Address
    ) -> bool:
        """See `hookspecs.known_sender`. A plugin that fails is passed over."""
        hook = self._hooks["known_sender"]
        arguments = {"session": session, "envelope": envelope, "recipient": recipient, "sender": sender}
        for one in hook.implementations:
            try:
                if await self._call(hook, one, arguments, lambda answer: answer is True):
                    return True
            except HookFailedError:
                continue  # logged by _call
        return False

    async def smtp_refused(self, *, session: Session, reply: Reply) -> Reply | None:
        """See `hookspecs.smtp_refused`. A plugin that fails is passed over."""
        hook = self._hooks["smtp_refused"]
        for one in hook.implementations:
            try:
                goodbye: Reply | None = await self._call(hook, one, {"session": session, "reply": reply}, _is_goodbye)
            except HookFailedError:
                continue  # logged by _call
            if goodbye is not None:
                return goodbye
        return None

    def smtp_disconnect(self, *, session: Session) -> None:
        """See `hookspecs.smtp_disconnect`."""
        self._notify("smtp_disconnect", {"session": session})

    async def own_recipient(self, *, recipient: Recipient) -> Literal["local", "backup", "relay"] | None:
        """See `hookspecs.own_recipient`. Raises HookFailedError."""
        kind: Literal["local", "backup", "relay"] | None = await self._first(
            "own_recipient", {"recipient": recipient}, lambda answer: answer in ("local", "backup", "relay")
        )
        return kind

    async def known_recipients(self) -> list[KnownRecipient]:
        """See `hookspecs.known_recipients`. Raises HookFailedError when one plugin fails: a part is no answer."""
        hook = self._hooks["known_recipients"]
        found: list[KnownRecipient] = []
        for one in hook.implementations:
            found += await self._call(hook, one, {}, _sequence_of(KnownRecipient)) or ()
        return found

    # ── accounts ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def find_credentials(self, *, login: str) -> Sequence[Credential] | None:
        """See `hookspecs.find_credentials`. Raises HookFailedError."""
        found: Sequence[Credential] | None = await self._first(
            "find_credentials", {"login": login}, _sequence_of(Credential)
        )
        return found

    async def verify_password(self, *, login: str, password: str) -> str | None:
        """See `hookspecs.verify_password`. Raises HookFailedError."""
        account: str | None = await self._first(
            "verify_password", {"login": login, "password": password}, lambda answer: isinstance(answer, str)
        )
        return account

    # ── the accept path ───────────────────────────────────────────────────────────────────────────────────────────

    async def message_received(
        self, *, session: Session, envelope: Envelope, message: Message
    ) -> Message | Edited | Reply:
        """See `hookspecs.message_received`. A failure is a 451."""
        hook = self._hooks["message_received"]
        edited: Edited | None = None
        for one in hook.implementations:
            arguments = {"session": session, "envelope": envelope, "message": message}
            try:
                answer = await self._call(hook, one, arguments, _is_received)
            except HookFailedError as error:
                return error.reply
            if isinstance(answer, Reply):
                return answer
            if isinstance(answer, Edited):
                edited = answer.after(edited)
                message, envelope = edited.message, edited.envelope(envelope)
            elif answer is not None:
                message = answer
        return message if edited is None else dataclasses.replace(edited, message=message)

    async def message_written(self, *, envelope: Envelope, message: Message) -> Message:
        """See `hookspecs.message_written`. A plugin that fails is passed over."""
        hook = self._hooks["message_written"]
        for one in hook.implementations:
            try:
                arguments = {"envelope": envelope, "message": message}
                answer = await self._call(hook, one, arguments, lambda a: isinstance(a, Message))
            except HookFailedError:
                continue  # logged by _call
            message = message if answer is None else answer
        return message

    @property
    def filters(self) -> bool:
        """Whether any plugin has a say on what a message is: without one there is nobody to ask."""
        hooks = self._hooks
        return bool(hooks["authenticate_message"].implementations or hooks["score_message"].implementations)

    async def authenticate_message(
        self,
        *,
        session: Session,
        envelope: Envelope,
        message: Message,
        phase: Literal["mechanisms", "policy"],
        findings: Sequence[Finding],
    ) -> list[Finding]:
        """See `hookspecs.authenticate_message`."""
        arguments = {
            "session": session,
            "envelope": envelope,
            "message": message,
            "phase": phase,
            "findings": findings,
        }
        return await self._collect("authenticate_message", arguments)

    async def message_texts(self, *, session: Session, envelope: Envelope, message: Message) -> list[str]:
        """See `hookspecs.message_texts`. A plugin that fails is passed over."""
        hook = self._hooks["message_texts"]
        arguments = {"session": session, "envelope": envelope, "message": message}
        found: list[str] = []
        for one in hook.implementations:
            try:
                found += await self._call(hook, one, arguments, _sequence_of(str)) or ()
            except HookFailedError:
                continue  # logged by _call
        return found

    async def score_message(
        self,
        *,
        session: Session,
        envelope: Envelope,
        message: Message,
        findings: Sequence[Finding],
        texts: Sequence[str] = (),
    ) -> list[Finding]:
        """See `hookspecs.score_message`."""
        arguments = {
            "session": session,
            "envelope": envelope,
            "message": message,
            "findings": findings,
            "texts": texts,
        }
        return await self._collect("score_message", arguments)

    async def score_recipient(
        self,
        *,
        session: Session,
        envelope: Envelope,
        recipient: Recipient,
        account: Account | None,
        message: Message,
        findings: Sequence[Finding],
    ) -> list[Finding]:
        """See `hookspecs.score_recipient`."""
        arguments = {
            "session": session,
            "envelope": envelope,
            "recipient": recipient,
            "account": account,
            "message": message,
            "findings": findings,
        }
        return await self._collect("score_recipient", arguments)

    async def judge_recipient(
        self, *, recipient: Recipient, account: Account | None, findings: Sequence[Finding]
    ) -> Judgement | None:
        """See `hookspecs.judge_recipient`. A plugin that fails is passed over."""
        hook = self._hooks["judge_recipient"]
        arguments = {"recipient": recipient, "account": account, "findings": findings}
        for one in hook.implementations:
            try:
                found: Judgement | None = await self._call(hook, one, arguments, _is_judgement)
            except HookFailedError:
                continue  # logged by _call
            if found is not None:
                return found
        return None

    async def expand_recipient(self, *, recipient: Recipient) -> Sequence[Recipient] | None:
        """See `hookspecs.expand_recipient`. Raises HookFailedError."""
        found: Sequence[Recipient] | None = await self._first(
            "expand_recipient", {"recipient": recipient}, _sequence_of(Recipient)
        )
        return found

    async def route_recipient(
        self, *, session: Session, envelope: Envelope, recipient: Recipient
    ) -> Route | Reply | None:
        """See `hookspecs.route_recipient`. Raises HookFailedError."""
        route: Route | Reply | None = await self._first(
            "route_recipient",
            {"session": session, "envelope": envelope, "recipient": recipient},
            lambda answer: isinstance(answer, Route) or _is_refusal(answer),
        )
        return route

    async def transform_inbound(self, *, message: Message, account: Account, findings: Sequence[Finding]) -> Message:
        """See `hookspecs.transform_inbound`. Raises HookFailedError."""
        return await self._chain("transform_inbound", message, {"account": account, "findings": findings})

    async def file_message(
        self,
        *,
        envelope: Envelope,
        recipient: Recipient,
        account: Account,
        message: Message,
        findings: Sequence[Finding],
    ) -> Sequence[Filing] | Reply | None:
        """See `hookspecs.file_message`. Raises HookFailedError."""
        filings: Sequence[Filing] | Reply | None = await self._first(
            "file_message",
            {
                "envelope": envelope,
                "recipient": recipient,
                "account": account,
                "message": message,
                "findings": findings,
            },
            lambda answer: _is_refusal(answer) or _sequence_of(Filing)(answer),
        )
        return filings

    @property
    def copies_wanted(self) -> bool:
        """Whether any plugin keeps copies."""
        return bool(self._hooks["copies"].implementations)

    async def copies(
        self,
        *,
        session: Session,
        envelope: Envelope,
        message: Message,
        recipients: Sequence[Recipient],
        accounts: Sequence[str],
    ) -> list[Companion]:
        """See `hookspecs.copies`. A plugin that fails is passed over."""
        arguments = {
            "session": session,
            "envelope": envelope,
            "message": message,
            "recipients": recipients,
            "accounts": accounts,
        }
        found: list[Companion] = []
        hook = self._hooks["copies"]
        for one in hook.implementations:
            try:
                found += await self._call(hook, one, arguments, _sequence_of(Companion)) or ()
            except HookFailedError:
                continue  # logged by _call
        return found

    @property
    def senders_change(self) -> bool:
        """Whether any plugin gives what leaves another sender: without one there is nobody to ask."""
        return bool(self._hooks["outbound_sender"].implementations)

    async def outbound_sender(self, *, envelope: Envelope, via: str, route: Route) -> Address | None:
        """See `hookspecs.outbound_sender`. Raises HookFailedError: the caller defers."""
        sender: Address | None = await self._first(
            "outbound_sender",
            {"envelope": envelope, "via": via, "route": route},
            lambda answer: isinstance(answer, Address),
        )
        return sender

    async def transform_outbound(self, *, envelope: Envelope, message: Message, route: Route) -> Message:
        """See `hookspecs.transform_outbound`. Raises HookFailedError: the caller defers."""
        return await self._chain("transform_outbound", message, {"envelope": envelope, "route": route})

    async def protect_domain(self, *, domain: str) -> Protection | None:
        """See `hookspecs.protect_domain`. Raises HookFailedError."""
        found: Protection | None = await self._first(
            "protect_domain", {"domain": domain}, _with("harden", "connected", "failed")
        )
        return found

    # ── afterwards ────────────────────────────────────────────────────────────────────────────────────────────────

    def message_accepted(self, *, session: Session, envelope: Envelope, accepted: Accepted) -> None:
        """See `hookspecs.message_accepted`."""
        self._notify("message_accepted", {"session": session, "envelope": envelope, "accepted": accepted})

    def message_moved(self, *, account: str, source: str, target: str, uids: Sequence[int]) -> None:
        """See `hookspecs.message_moved`."""
        self._notify("message_moved", {"account": account, "source": source, "target": target, "uids": uids})

    def message_released(self, *, account: str, message: Message, header: bytes) -> None:
        """See `hookspecs.message_released`."""
        self._notify("message_released", {"account": account, "message": message, "header": header})

    def message_expunged(self, *, account: str, mailbox: str, uids: Sequence[int]) -> None:
        """See `hookspecs.message_expunged`."""
        self._notify("message_expunged", {"account": account, "mailbox": mailbox, "uids": uids})

    def delivery_settled(self, *, envelope: Envelope, outcome: Outcome) -> None:
        """See `hookspecs.delivery_settled`."""
        self._notify("delivery_settled", {"envelope": envelope, "outcome": outcome})

    def login_failed(self, *, session: Session, login: str) -> None:
        """See `hookspecs.login_failed`."""
        self._notify("login_failed", {"session": session, "login": login})

    def network_changed(self, *, addresses: Sequence[str]) -> None:
        """See `hookspecs.network_changed`."""
        self._notify("network_changed", {"addresses": addresses})

    async def settle(self) -> None:
        """Wait for the notifications under way; for an orderly shutdown and for tests."""
        while self._background:
            await asyncio.wait(self._background)

    # ── combinations ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _severest(self, name: str, arguments: dict[str, Any]) -> Reply | None:
        hook = self._hooks[name]
        if not hook.implementations:
            return None
        replies = []
        for one in hook.implementations:
            try:
                answer = await self._call(hook, one, arguments, _is_refusal)
            except HookFailedError as error:
                answer = error.reply
            if answer is not None:
                replies.append(answer)
        return most_severe(replies)

    async def _first(self, name: str, arguments: dict[str, Any], check: Check) -> Any:
        hook = self._hooks[name]
        for one in hook.implementations:
            answer = await self._call(hook, one, arguments, check)
            if answer is not None:
                return answer
        return None

    async def _chain(self, name: str, message: Message, arguments: dict[str, Any]) -> Message:
        hook = self._hooks[name]
        for one in hook.implementations:
            arguments["message"] = message
            answer = await self._call(hook, one, arguments, lambda a: isinstance(a, Message))
            message = message if answer is None else answer
        return message

    async def _collect(self, name: str, arguments: dict[str, Any]) -> list[Finding]:
        hook = self._hooks[name]
        if not hook.implementations:
            return []
        answers = await asyncio.gather(*[self._findings(hook, one, arguments) for one in hook.implementations])
        return [finding for answer in answers for finding in answer]

    async def _findings(self, hook: Hook, one: Implementation, arguments: dict[str, Any]) -> Sequence[Finding]:
        try:
            return await self._call(hook, one, arguments, _sequence_of(Finding)) or ()
        except HookFailedError as error:
            return (Finding(one.plugin, "unavailable", text=str(error), absence=one.absence),)

    def _notify(self, name: str, arguments: dict[str, Any]) -> None:
        hook = self._hooks[name]
        for one in hook.implementations:
            task = asyncio.get_running_loop().create_task(self._notified(hook, one, arguments))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _notified(self, hook: Hook, one: Implementation, arguments: dict[str, Any]) -> None:
        try:
            await self._call(hook, one, arguments, lambda answer: answer is None)
        except HookFailedError:
            return  # logged by _call; a notification has no other rule

    # ── one call ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _call(self, hook: Hook, one: Implementation, arguments: dict[str, Any], check: Check) -> Any:
        """Await one implementation. Raises HookFailedError, after logging it, whatever the plugin did wrong."""
        try:
            # All that are offered, or those that the plugin names.
            given = (
                arguments if len(one.arguments) == len(arguments) else {key: arguments[key] for key in one.arguments}
            )
            coroutine = one.function(**given)
            try:
                waiting_for = coroutine.send(None)
            except StopIteration as stop:  # as nearly always: it did not have to wait
                answer = stop.value
            else:
                answer = await _ended(hook.deadline, coroutine, waiting_for)
            allowed = answer is None or check(answer)
        except TimeoutError:
            raise _failed(hook, one, f"gave no answer within {hook.deadline:g} s") from None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it was not the plugin: we are to stop
            raise _failed(hook, one, "cancelled itself", error) from error
        except (Exception, SystemExit) as error:  # a library's sys.exit() must not end the appliance
            raise _failed(hook, one, f"raised {error!r}", error) from error
        if not allowed:
            raise _failed(hook, one, f"answered {answer!r:.200}, which the hook does not allow")
        return answer


def _failed(hook: Hook, one: Implementation, what: str, error: BaseException | None = None) -> HookFailedError:
    text = f"plugin {one.plugin} {what} in {hook.name}"
    log.error(text, exc_info=error)
    code, status = (454, "4.7.0") if hook.on_failure == "reply454" else (451, "4.3.0")
    return HookFailedError(text, Reply(code, status, _TRY_LATER, reason=text))


def _items(name: str, one: Implementation, arguments: Mapping[str, object]) -> list[tuple[str, Any]]:
    """What one plugin answers to a hook of the start. Raises PluginError when it fails."""
    try:
        items = one.function(**{key: arguments[key] for key in one.arguments})
        return [(one.plugin, item) for item in _checked(name, items)]
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {one.plugin!r} failed in {name}: {error!r}") from error


def _checked(name: str, items: Any) -> list[Any]:
    """The items that a plugin brings at the start. Raises TypeError when they are not what the hook asks for."""
    if isinstance(items, (str, bytes)):
        raise TypeError(f"the answer is {items!r:.100} and no list")
    found = list(items)
    check = _ITEMS.get(name)
    for item in found:
        if item is None or (check is not None and not check(item)):
            raise TypeError(f"{item!r:.100} is not what the hook asks for")
    return found


def _with(*attributes: str) -> Check:
    return lambda item: not isinstance(item, type) and all(hasattr(item, name) for name in attributes)


_ITEMS: dict[str, Check] = {
    "settings": lambda item: isinstance(item, Section) and dataclasses.is_dataclass(item.cls),
    "migrations": lambda item: isinstance(item, Migration),
    "commands": _with("name", "main"),
    "services": _with("name", "after", "run", "reload"),
    "transports": lambda item: _with("name", "deliver")(item) or _with("name", "deliver_queued")(item),
    "sasl_mechanisms": lambda item: _with("name", "begin")(item) or _with("name", "weak", "machine")(item),
    "smtp_extensions": lambda item: isinstance(item, str) and item.isascii() and item.isprintable(),
    "calls": lambda item: isinstance(item, (tuple, list)) and len(item) == 2 and callable(item[1]),
    "dns_records": lambda item: isinstance(item, DnsRecord),
    "status": lambda item: isinstance(item, (tuple, list)) and _is_status(item),
}


def _is_status(item: Sequence[object]) -> bool:
    plain = [type(part) for part in item[:2]] == [str, str]
    return plain and (len(item) == 2 or (len(item) == 3 and item[2] in get_args(Level)))


def _is_received(answer: object) -> bool:
    return isinstance(answer, (Message, Edited)) or _is_refusal(answer)


def _is_refusal(answer: object) -> bool:
    return isinstance(answer, Reply) and answer.code >= 400


def _is_judgement(answer: object) -> bool:
    return isinstance(answer, Judgement)


def _is_goodbye(answer: object) -> bool:
    return isinstance(answer, Reply) and answer.code == 421


def _sequence_of(kind: type) -> Check:
    return lambda answer: isinstance(answer, (list, tuple)) and all(isinstance(item, kind) for item in answer)


async def within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine with a deadline that costs nothing when it does not have to wait.

    The first step runs at once; only a coroutine that suspends gets a timer. Raises TimeoutError.
    """
    try:
        waiting_for = coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    return await _ended(seconds, coroutine, waiting_for)


async def _ended(seconds: float, coroutine: Coroutine[Any, Any, T], waiting_for: Any) -> T:
    async with asyncio.timeout(seconds):
        return await _resumed(coroutine, waiting_for)


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine whose first suspension has been taken: pass everything through, both ways."""
    while True:
        try:
            value = yield waiting_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever is thrown in must reach the coroutine
            step = _thrower(coroutine, error)
        else:
            step = _sender(coroutine, value)
        try:
            waiting_for = step()
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _thrower(coroutine: Coroutine[Any, Any, T], error: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(error)


def _sender(coroutine: Coroutine[Any, Any, T], value: Any) -> Callable[[], Any]:
    return lambda: coroutine.send(value)
