"""Every hook's rule holds when a plugin raises, hangs or answers nonsense."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import types
from typing import Any

import pluggy
import pytest

from appliance import hookspecs
from appliance.auth import Credential
from appliance.dispatch import Dispatch, HookFailedError, hooks_of, within
from appliance.errors import PluginError
from appliance.hookspecs import hookimpl
from appliance.loading import register
from appliance.mail.address import Address
from appliance.mail.companion import Companion
from appliance.mail.delivery import Outcome, Route
from appliance.mail.envelope import Envelope, Recipient
from appliance.mail.finding import Finding, Judgement
from appliance.mail.known import KnownRecipient
from appliance.mail.message import Message
from appliance.mail.reply import Reply
from appliance.mail.session import Session
from appliance.store.model import Accepted, Account, Filing

SESSION = Session("s", "mx", peer_ip="192.0.2.1")
ENVELOPE = Envelope(None)
RECIPIENT = Recipient(Address("ana", "palomar.test"))
MESSAGE = Message.parse(b"Subject: x\r\n\r\nbody\r\n")
ACCOUNT = Account(1, "ana@palomar.test")
ROUTE = Route("local", "ana@palomar.test")
REFUSE = Reply(550, "5.7.1", "No")
DEFER = Reply(450, "4.7.1", "Later")

ARGUMENTS: dict[str, dict[str, Any]] = {
    "smtp_connect": {"session": SESSION},
    "smtp_helo": {"session": SESSION},
    "smtp_sender": {"session": SESSION, "envelope": ENVELOPE},
    "smtp_recipient": {"session": SESSION, "envelope": ENVELOPE, "recipient": RECIPIENT},
    "known_sender": {
        "session": SESSION, "envelope": ENVELOPE, "recipient": RECIPIENT, "sender": Address("luis", "elsewhere.test"),
    },
    "smtp_refused": {"session": SESSION, "reply": REFUSE},
    "smtp_disconnect": {"session": SESSION},
    "own_recipient": {"recipient": RECIPIENT},
    "known_recipients": {},
    "find_credentials": {"login": "ana"},
    "verify_password": {"login": "ana", "password": "x"},
    "message_received": {"session": SESSION, "envelope": ENVELOPE, "message": MESSAGE},
    "authenticate_message": {
        "session": SESSION, "envelope": ENVELOPE, "message": MESSAGE, "phase": "policy", "findings": (),
    },
    "message_texts": {"session": SESSION, "envelope": ENVELOPE, "message": MESSAGE},
    "score_message": {"session": SESSION, "envelope": ENVELOPE, "message": MESSAGE, "findings": (), "texts": ()},
    "score_recipient": {
        "session": SESSION, "envelope": ENVELOPE, "recipient": RECIPIENT, "account": ACCOUNT, "message": MESSAGE,
        "findings": (),
    },
    "judge_recipient": {"recipient": RECIPIENT, "account": ACCOUNT, "findings": ()},
    "expand_recipient": {"recipient": RECIPIENT},
    "route_recipient": {"session": SESSION, "envelope": ENVELOPE, "recipient": RECIPIENT},
    "transform_inbound": {"message": MESSAGE, "account": ACCOUNT, "findings": ()},
    "file_message": {
        "envelope": ENVELOPE, "recipient": RECIPIENT, "account": ACCOUNT, "message": MESSAGE, "findings": (),
    },
    "protect_domain": {"domain": "elsewhere.test"},
    "copies": {
        "session": SESSION, "envelope": ENVELOPE, "message": MESSAGE, "recipients": (RECIPIENT,),
        "accounts": ("ana@palomar.test",),
    },
    "outbound_sender": {"envelope": ENVELOPE, "via": "info@palomar.test", "route": ROUTE},
    "message_written": {"envelope": ENVELOPE, "message": MESSAGE},
    "transform_outbound": {"envelope": ENVELOPE, "message": MESSAGE, "route": ROUTE},
    "message_accepted": {"session": SESSION, "envelope": ENVELOPE, "accepted": Accepted(1)},
    "message_moved": {"account": "ana", "source": "INBOX", "target": "Junk", "uids": (1,)},
    "message_released": {"account": "ana", "message": MESSAGE, "header": b""},
    "message_expunged": {"account": "ana", "mailbox": "INBOX", "uids": (1,)},
    "delivery_settled": {"envelope": ENVELOPE, "outcome": Outcome(RECIPIENT, "failed", REFUSE)},
    "login_failed": {"session": SESSION, "login": "ana"},
    "network_changed": {"addresses": ("192.0.2.1",)},
}  # fmt: skip
GOOD: dict[str, Any] = {
    "smtp_connect": REFUSE,
    "smtp_helo": REFUSE,
    "smtp_sender": REFUSE,
    "smtp_recipient": REFUSE,
    "smtp_refused": Reply(421, "4.7.0", "Goodbye"),
    "known_sender": True,
    "own_recipient": "local",
    "known_recipients": [KnownRecipient("ana@palomar.test", "+")],
    "find_credentials": [Credential("plain", "ana", "ana", b"x")],
    "verify_password": "ana@palomar.test",
    "message_received": MESSAGE.prepend(b"X: y\r\n"),
    "authenticate_message": [Finding("demo", "pass")],
    "message_texts": ["what an image says"],
    "score_message": [Finding("demo", "pass")],
    "score_recipient": [Finding("demo", "pass")],
    "judge_recipient": Judgement("junk", 7.0),
    "expand_recipient": [RECIPIENT],
    "route_recipient": ROUTE,
    "transform_inbound": MESSAGE.prepend(b"X: y\r\n"),
    "file_message": [Filing(1)],
    "protect_domain": types.SimpleNamespace(harden=None, connected=None, failed=None),
    "copies": [Companion(MESSAGE, ENVELOPE)],
    "outbound_sender": Address("srs", "palomar.test"),
    "message_written": MESSAGE.prepend(b"X: y\r\n"),
    "transform_outbound": MESSAGE.prepend(b"X: y\r\n"),
}
AWAITED = sorted(ARGUMENTS)
NOTIFIED = [name for name in AWAITED if name not in GOOD]
ANSWERING = sorted(GOOD)


def plugin_for(hook: str, behaviour: Any, **options: Any) -> Any:
    """A plugin object with one hook that behaves as told; it takes every argument the hook has."""
    arguments = ", ".join(ARGUMENTS[hook])
    scope: dict[str, Any] = {"behaviour": behaviour}
    exec(f"async def {hook}({arguments}):\n    return await behaviour()", scope)

    class Plugin:
        pass

    plugin = Plugin()
    setattr(plugin, hook, hookimpl(**options)(scope[hook]))
    return plugin


def dispatch_with(*plugins: tuple[str, Any], deadline: float | None = None) -> Dispatch:
    manager = pluggy.PluginManager("palomar")
    manager.add_hookspecs(hookspecs)
    for name, plugin in reversed(plugins):
        register(manager, name, plugin)
    dispatch = Dispatch(manager)
    if deadline is not None:
        for hook in dispatch._hooks.values():
            object.__setattr__(hook, "deadline", deadline)
    return dispatch


async def raises() -> Any:
    raise RuntimeError("broken on purpose")


async def hangs() -> Any:
    await asyncio.get_running_loop().create_future()


async def nonsense() -> Any:
    return object()


async def leaves() -> Any:
    sys.exit("a library's idea of an error")


async def cancels_itself() -> Any:
    raise asyncio.CancelledError


async def unhashable() -> Any:
    return [None, {}]


def test_the_table_of_arguments_is_complete() -> None:
    awaited = {n for n in dir(hookspecs) if inspect.iscoroutinefunction(getattr(hookspecs, n))}
    assert awaited == set(ARGUMENTS)


@pytest.mark.parametrize("hook", ANSWERING)
async def test_a_good_answer_comes_through(hook: str) -> None:
    async def good() -> Any:
        return GOOD[hook]

    answer = await getattr(dispatch_with(("good", plugin_for(hook, good))), hook)(**ARGUMENTS[hook])
    assert answer == GOOD[hook]


@pytest.mark.parametrize(
    "behaviour", [raises, hangs, nonsense, leaves, cancels_itself, unhashable], ids=lambda b: b.__name__
)
@pytest.mark.parametrize("hook", AWAITED)
async def test_a_bad_plugin_gets_the_rule_of_the_table(hook: str, behaviour: Any, caplog: Any) -> None:
    dispatch = dispatch_with(("bad", plugin_for(hook, behaviour)), deadline=0.01)
    call = getattr(dispatch, hook)
    with caplog.at_level(logging.ERROR):
        if hook in {"smtp_connect", "smtp_helo", "smtp_sender", "smtp_recipient", "message_received"}:
            reply = await call(**ARGUMENTS[hook])
            assert (reply.code, reply.enhanced) == (451, "4.3.0")
        elif hook in {"authenticate_message", "score_message", "score_recipient"}:
            (finding,) = await call(**ARGUMENTS[hook])
            assert (finding.name, finding.result, finding.absence) == ("bad", "unavailable", "ignore")
        elif hook in {"copies", "message_texts"}:
            assert await call(**ARGUMENTS[hook]) == []
        elif hook == "known_sender":
            assert await call(**ARGUMENTS[hook]) is False
        elif hook == "message_written":
            assert await call(**ARGUMENTS[hook]) is MESSAGE
        elif hook in {"smtp_refused", "judge_recipient"}:
            assert await call(**ARGUMENTS[hook]) is None
        elif hook in NOTIFIED:
            call(**ARGUMENTS[hook])
            await dispatch.settle()
        else:
            with pytest.raises(HookFailedError) as caught:
                await call(**ARGUMENTS[hook])
            assert caught.value.reply.code == (454 if "find" in hook or "verify" in hook else 451)
    assert "plugin bad " in caplog.text
    assert f" in {hook}" in caplog.text


async def test_the_most_severe_reply_wins_and_everyone_is_asked() -> None:
    asked = []

    def answering(reply: Reply | None) -> Any:
        async def answer() -> Reply | None:
            asked.append(reply)
            return reply

        return answer

    dispatch = dispatch_with(
        *[(f"p{n}", plugin_for("smtp_helo", answering(r))) for n, r in enumerate((None, DEFER, REFUSE, DEFER))]
    )
    assert await dispatch.smtp_helo(session=SESSION) == REFUSE
    assert asked == [None, DEFER, REFUSE, DEFER]


async def test_no_plugin_can_accept_a_recipient() -> None:
    async def welcome() -> Reply:
        return Reply(250, "2.1.5", "Come in")

    dispatch = dispatch_with(("open", plugin_for("smtp_recipient", welcome)))
    reply = await dispatch.smtp_recipient(session=SESSION, envelope=ENVELOPE, recipient=RECIPIENT)
    assert reply is not None
    assert reply.code == 451


async def test_a_finding_that_must_not_be_missing_defers() -> None:
    plugin = plugin_for("score_message", raises)
    plugin.ABSENCE = "defer"
    (finding,) = await dispatch_with(("virus", plugin)).score_message(**ARGUMENTS["score_message"])
    assert finding.absence == "defer"


async def test_a_chain_hands_each_the_work_of_the_one_before() -> None:
    class Stamp:
        def __init__(self, line: bytes) -> None:
            self.line = line

        @hookimpl
        async def transform_outbound(self, message: Message) -> Message:
            return message.prepend(self.line)

    dispatch = dispatch_with(("a", Stamp(b"A: 1\r\n")), ("b", Stamp(b"B: 2\r\n")))
    message = await dispatch.transform_outbound(envelope=ENVELOPE, message=MESSAGE, route=ROUTE)
    assert bytes(message).startswith(b"B: 2\r\nA: 1\r\nSubject: x\r\n")


async def test_who_is_known_is_all_that_each_plugin_knows_or_nothing() -> None:
    ana, luis = KnownRecipient("ana@palomar.test"), KnownRecipient("luis@palomar.test")

    def knowing(*known: KnownRecipient) -> Any:
        async def answer() -> Any:
            return known or None

        return plugin_for("known_recipients", answer)

    plugins = [("a", knowing(ana)), ("b", knowing()), ("c", knowing(luis))]
    assert await dispatch_with(*plugins).known_recipients() == [ana, luis]
    with pytest.raises(HookFailedError):
        await dispatch_with(*plugins, ("d", plugin_for("known_recipients", raises))).known_recipients()


async def test_the_first_answer_ends_the_question() -> None:
    async def never() -> Any:
        raise AssertionError("was asked")

    async def known() -> Any:
        return [Credential("plain", "ana", "ana", b"x")]

    dispatch = dispatch_with(("a", plugin_for("find_credentials", known)), ("b", plugin_for("find_credentials", never)))
    assert await dispatch.find_credentials(login="ana") is not None


def test_a_failing_start_up_hook_stops_the_start() -> None:
    class Broken:
        @hookimpl
        def settings(self) -> Any:
            raise RuntimeError("no")

    with pytest.raises(PluginError, match="'broken' failed in settings"):
        dispatch_with(("broken", Broken())).gather("settings")


AT_THE_START = [name for name, spec in vars(hookspecs).items() if getattr(spec, "rule_combine", "") == "list"]


@pytest.mark.parametrize("hook", AT_THE_START)
@pytest.mark.parametrize("answer", [None, 42, "text", [None], [object, None], ["CR\r\nLF", None]], ids=repr)
def test_nonsense_at_the_start_stops_the_start(hook: str, answer: Any) -> None:
    scope: dict[str, Any] = {"answer": answer}
    exec(f"def {hook}():\n    return answer", scope)
    plugin = type("Plugin", (), {hook: staticmethod(hookimpl(scope[hook]))})()
    dispatch = dispatch_with(("odd", plugin))
    if hook in {"status", "dns_records"}:
        assert dispatch.gather(hook, core=None) == []  # an overview with a gap is better than none
        return
    with pytest.raises(PluginError, match=f"'odd' failed in {hook}"):
        dispatch.gather(hook, core=None)


def test_objects_without_hooks_are_none() -> None:
    class Late:
        @hookimpl
        def hooks(self, core: Any) -> Any:
            return [object()]

    with pytest.raises(PluginError, match="'late' failed in hooks: implements no hook"):
        dispatch_with(("late", Late())).attach(core=None)


def test_hooks_that_need_the_core_keep_their_plugins_place() -> None:
    class Late:
        @hookimpl
        def hooks(self, core: Any) -> Any:
            return [plugin_for("smtp_helo", raises)]

    last = plugin_for("smtp_helo", raises, trylast=True)
    first = plugin_for("smtp_helo", raises, tryfirst=True)
    usual = plugin_for("smtp_helo", raises)
    dispatch = dispatch_with(("a", usual), ("b", Late()), ("c", last), ("d", Late()), ("e", first))
    dispatch.attach(core=None)
    assert [one.plugin for one in dispatch._hooks["smtp_helo"].implementations] == ["e", "a", "b", "d", "c"]


def test_hooks_that_need_the_core_are_attached_in_order() -> None:
    class Late:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def hooks(self, core: Any) -> Any:
            return [plugin_for("smtp_helo", raises)]

    dispatch = dispatch_with(("a", Late("a")), ("b", Late("b")))
    dispatch.attach(core=None)
    assert [one.plugin for one in dispatch._hooks["smtp_helo"].implementations] == ["a", "b"]


async def test_within_passes_values_errors_and_cancellation_through() -> None:
    steps = []

    async def careful() -> str:
        await asyncio.sleep(0)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise
        return "never"

    with pytest.raises(TimeoutError):
        await within(0.01, careful())
    task = asyncio.ensure_future(within(60, careful()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cancelled", "cancelled"]


async def test_within_gives_the_answer_of_one_that_waited() -> None:
    async def slow() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return 42

    assert await within(60, slow()) == 42


def test_every_hook_declares_its_rule() -> None:
    manager = pluggy.PluginManager("palomar")
    manager.add_hookspecs(hookspecs)
    hooks = hooks_of(manager)
    assert {"settings", "services", "smtp_recipient", "file_message"} <= set(hooks)
    assert all(hook.deadline > 0 for hook in hooks.values())
