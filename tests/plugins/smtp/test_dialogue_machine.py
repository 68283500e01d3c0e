"""The whole dialogue as a state machine: whatever a client says in whatever order, and however TCP cuts it.

A model of its own says what each command must be answered with. Beside that, whatever happens: nothing crashes, no
message is taken without a recipient that was, and no octet of a message is ever read as a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.connection import ConnectionLostError
from appliance.errors import ProtocolError
from appliance.mail.session import TlsInfo
from plugins.smtp.config import SmtpConfig
from plugins.smtp.protocol import Chunk, Command, Event, SmtpServer
from plugins.smtp.session import SmtpSession
from tests.plugins.smtp.fake import FakeConnection, FakeCore, plain

MARK = "in.a.message"  # the domain that stands in commands inside of messages, and nowhere else
INSIDE = (
    f"MAIL FROM:<x@{MARK}>\r\nRCPT TO:<ana@palomar.test>\r\nDATA\r\nSTARTTLS\r\nNOOP {MARK}\r\nQUIT {MARK}\r\n".encode()
)
FRAGMENTS = (
    b"Subject: hello\r\n", b"\r\n", b"text", b".", b"\r\n.", b"..\r\n", b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r\n.\n",
    b"\r.\r", b"\r", b"\n", b"\0", b"\x85.\x85", b" .\r\n", b". \r\n", INSIDE, b".\r\n" + INSIDE,
)  # fmt: skip
CLEAN = tuple(one for one in FRAGMENTS if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", b"x" + one + b"x") is None)
STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
KNOWN = {"ana": 250, "luis": 250, "picky": 250, "full": 452, "unknown": 550}

bodies = st.one_of(
    st.lists(st.sampled_from(CLEAN), max_size=8).map(b"".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(b"".join),
)
begins = st.lists(st.sampled_from(tuple(KNOWN)), max_size=3)  # recipients of a new transaction, if any
cuts = st.sampled_from((1 << 20, 1, 2, 7, 30))


class Recorder(SmtpServer):
    """The machine, with every event that is no octet of a message noted."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.commands: list[str] = []

    def next_event(self) -> Event | None:
        event = super().next_event()
        if isinstance(event, Command):
            self.commands.append(f"{event.verb} {event.argument}")
        elif isinstance(event, Chunk):
            self.commands.append("BDAT")
        return event


class LiveConnection(FakeConnection):
    """A connection whose peer speaks when the test wants it to."""

    def __init__(self, machine: SmtpServer) -> None:
        super().__init__(machine)
        self.said = b""
        self.idle = asyncio.Event()  # the session waits for its peer
        self._fed = asyncio.Event()
        self._gone = False

    async def next_event(self, timeout: float) -> Any:
        while (event := self.machine.next_event()) is None:
            if self._gone:
                raise ConnectionLostError("gone")
            self._fed.clear()
            self.idle.set()
            await self._fed.wait()
        return event

    def feed(self, data: bytes) -> None:
        self.idle.clear()
        self.machine.receive(data)
        self._fed.set()

    def leave(self) -> None:
        self._gone = True
        self._fed.set()

    def write(self, data: bytes) -> None:
        self.said += data

    async def start_tls(self, context: object) -> TlsInfo:
        self.machine.start_tls()
        self.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
        return self.tls


@dataclass
class Model:
    """What a server knows by what it was told."""

    role: str
    tls: bool
    esmtp: bool = False
    hello: bool = False
    login: bool = False
    sender: str | None = None  # of the open transaction
    recipients: list[str] = field(default_factory=list)
    chunks: bytes | None = None  # what came by BDAT

    def forget(self) -> None:
        """The transaction is over."""
        self.sender, self.recipients, self.chunks = None, [], None

    def message(self, octets: bytes) -> list[int]:
        """The answers to a message, and its end."""
        picky = [250 if local != "picky" else 550 for local in self.recipients]
        if STRAY.search(octets):
            picky = [554] * len(picky)
        self.forget()
        return picky if self.role == "lmtp" else [min(picky)]


class Dialogue(RuleBasedStateMachine):
    """One client after the other."""

    @initialize(role=st.sampled_from(("mx", "submission", "lmtp")), tls=st.sampled_from((False, False, True)))
    def open(self, role: str, tls: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        limits = {"max_errors": 10_000, "max_idle_commands": 10_000, "max_auth_failures": 10_000}
        self.core = FakeCore(Path(self.folder.name), SmtpConfig(**limits))  # type: ignore[arg-type]
        self.role, self.tls_at_once = role, tls
        self.crash: BaseException | None = None
        self._connect()

    def _connect(self) -> None:
        self.machine, self.model = Recorder(), Model(self.role, self.tls_at_once)
        self.waiting, self.expected = b"", list[int]()
        self.taken = len(self.core.intake.taken)

        async def begin() -> asyncio.Task[None]:
            self.connection = LiveConnection(self.machine)
            if self.tls_at_once:
                self.connection.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
            return asyncio.create_task(self._serve())

        self.session = self.loop.run_until_complete(begin())
        self.expected = [220]
        self._deliver(1 << 20)

    async def _serve(self) -> None:
        try:
            await SmtpSession(self.core.core, self.connection, self.role).run()  # type: ignore[arg-type]
        except ProtocolError as error:
            self.connection.write(error.reply)
        except ConnectionLostError:
            return
        except BaseException as error:
            self.crash = error
            raise
        finally:
            self.connection.idle.set()

    def _deliver(self, cut: int) -> None:
        """Send what waits in pieces, each when the session has come to rest, and compare the answers."""
        data, self.waiting = self.waiting, b""
        pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
        self.loop.run_until_complete(self._play(pieces))
        assert self.crash is None, self.crash
        lines = self.connection.said.split(b"\r\n")
        assert lines.pop() == b""
        assert all(re.fullmatch(rb"[2345]\d\d[ -][^\r\n\0]*", line) for line in lines), lines
        codes = [int(line[:3]) for line in lines if line[3:4] == b" "]
        assert codes == self.expected, (codes, self.expected, data)
        self.connection.said, self.expected = b"", []

    async def _play(self, pieces: list[bytes]) -> None:
        await self.connection.idle.wait()
        for piece in pieces:
            if self.session.done():
                return
            self.connection.feed(piece)
            await self.connection.idle.wait()

    def _say(self, line: bytes, *codes: int, hold: bool = False, cut: int = 1 << 20) -> None:
        """One command; with `hold` it waits for the next one, to be sent in one go."""
        self.waiting += line + b"\r\n"
        self.expected += codes
        if not hold:
            self._deliver(cut)

    def _ended(self) -> None:
        """The server must have hung up; another client comes."""
        self.loop.run_until_complete(asyncio.wait([self.session]))
        self._connect()

    # ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(verb=st.sampled_from(("EHLO", "HELO", "LHLO", "ehlo")), hold=st.booleans(), cut=cuts)
    def hello(self, verb: str, hold: bool, cut: int) -> None:
        self._hello(verb, hold, cut)

    def _hello(self, verb: str, hold: bool, cut: int) -> None:
        fits = (verb == "LHLO") is (self.role == "lmtp")
        if fits:
            self.model.hello, self.model.esmtp = True, verb != "HELO"
            self.model.forget()
        self._say(f"{verb} load.test".encode(), 250 if fits else 500, hold=hold, cut=cut)

    @rule(sender=st.sampled_from(("", "ana@palomar.test", "a@sender.test")), hold=st.booleans(), cut=cuts)
    def mail(self, sender: str, hold: bool, cut: int) -> None:
        self._mail(sender, hold, cut)

    def _mail(self, sender: str, hold: bool, cut: int) -> None:
        model = self.model
        if model.sender is not None or not model.hello:
            code = 503
        elif self.role == "submission" and not model.login:
            code = 530
        elif model.login and sender == "a@sender.test":
            code = 553
        else:
            code, model.sender = 250, sender
        self._say(f"MAIL FROM:<{sender}>".encode(), code, hold=hold, cut=cut)

    @rule(local=st.sampled_from((*KNOWN, "outside")), hold=st.booleans(), cut=cuts)
    def rcpt(self, local: str, hold: bool, cut: int) -> None:
        self._rcpt(local, hold, cut)

    def _rcpt(self, local: str, hold: bool, cut: int) -> None:
        model = self.model
        domain = "palomar.test" if local != "outside" else "outside.test"
        if model.sender is None or model.chunks is not None:
            code = 503
        else:
            code = KNOWN.get(local, 250 if model.login else 550)
            if code == 250:
                model.recipients.append(local)
        self._say(f"RCPT TO:<{local}@{domain}>".encode(), code, hold=hold, cut=cut)

    def _begin(self, locals_: list[str], hold: bool, cut: int) -> None:
        """All that leads to a message, in one go if it may be: most of what can go wrong is behind it."""
        if self.model.sender is not None:
            self._other("RSET", 250, hold, cut)
        if not self.model.esmtp:
            self._hello("LHLO" if self.role == "lmtp" else "EHLO", hold, cut)
        if self.role == "submission" and self.model.tls and not self.model.login:
            self._auth(good=True, stepwise=False, answer=b"", cut=cut)
        self._mail("ana@palomar.test", hold, cut)
        for local in locals_:
            self._rcpt(local, hold, cut)

    @rule(
        line=st.sampled_from(
            (
                ("RSET", 250), ("NOOP", 250), ("NOOP x y", 250), ("HELP", 214), ("VRFY ana", 252), ("EXPN all", 502),
                ("", 500), ("FOO", 500), ("MAIL", 0), ("RCPT", 0), ("RSET x", 501), ("QUIT x", 501), ("X" * 2000, 500),
                ("NOOP \0", 500), ("STARTTLS x", 501),
            )
        ),
        hold=st.booleans(), cut=cuts,
    )  # fmt: skip
    def other(self, line: tuple[str, int], hold: bool, cut: int) -> None:
        self._other(*line, hold, cut)

    def _other(self, text: str, code: int, hold: bool, cut: int) -> None:
        if text == "RSET":
            self.model.forget()
        model = self.model
        if text == "MAIL":
            code = 503 if model.sender is not None or not model.hello else 501
            code = 530 if code == 501 and self.role == "submission" and not model.login else code
        elif text == "RCPT":
            code = 503 if model.sender is None or model.chunks is not None else 501
        self._say(text.encode(), code, hold=hold, cut=cut)

    @rule(good=st.booleans(), stepwise=st.booleans(), answer=st.sampled_from((b"*", b"====", b"QUIT ?")), cut=cuts)
    def auth(self, good: bool, stepwise: bool, answer: bytes, cut: int) -> None:
        self._auth(good=good, stepwise=stepwise, answer=answer, cut=cut)

    def _auth(self, *, good: bool, stepwise: bool, answer: bytes, cut: int) -> None:
        model = self.model
        if model.login:
            code = 503
        elif self.role != "submission":
            code = 502
        elif not model.esmtp or model.sender is not None:
            code = 503
        else:
            code = 235 if model.tls else 538
        if code != 235:
            self._say(f"AUTH PLAIN {plain('ana@palomar.test', 'secret')}".encode(), code, cut=cut)
        elif stepwise and not good:
            self._say(b"AUTH PLAIN", 334, cut=cut)
            self._say(answer, 501, cut=cut)
        else:
            model.login = good
            response = plain("ana@palomar.test", "secret" if good else "wrong").encode()
            if stepwise:
                self._say(b"AUTH PLAIN", 334, cut=cut)
                self._say(response, 235, cut=cut)
            else:
                self._say(b"AUTH PLAIN " + response, 235 if good else 535, cut=cut)

    # ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(begin=begins, hold=st.booleans(), cut=cuts)
    def starttls(self, begin: list[str], hold: bool, cut: int) -> None:
        """After it, nothing counts that was said before."""
        if begin:
            self._begin(begin, hold, cut)
        model = self.model
        if model.tls:
            self._say(b"STARTTLS", 503, cut=cut)
            return
        self._say(b"STARTTLS", 220, cut=cut)
        assert self.connection.tls is not None
        self.model = Model(self.role, True)

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(begin=begins, hold=st.booleans(), body=bodies, cut=cuts)
    def data(self, begin: list[str], hold: bool, body: bytes, cut: int) -> None:
        """DATA, and the message only after a 354, as an honest client does."""
        if begin:
            self._begin(begin, hold, cut)
        model = self.model
        if model.sender is None:
            self._say(b"DATA", 503, cut=cut)
        elif not model.recipients:
            self._say(b"DATA", 503 if self.role == "lmtp" else 554, cut=cut)
        elif model.chunks is not None:
            self._say(b"DATA", 503, cut=cut)
        else:
            self._say(b"DATA", 354, cut=cut)
            whole = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
            stuffed = (b"." if whole.startswith(b".") else b"") + whole.replace(b"\r\n.", b"\r\n..")
            self.waiting += stuffed + b".\r\n"
            sender, recipients = model.sender, list(model.recipients)
            self.expected += model.message(whole)
            self._deliver(cut)
            self._was_taken(whole, sender, recipients)

    @rule(begin=begins, body=bodies, last=st.booleans(), hold=st.booleans(), cut=cuts)
    def bdat(self, begin: list[str], body: bytes, last: bool, hold: bool, cut: int) -> None:
        """A chunk: whatever the answer is, its octets are no commands."""
        if begin:
            self._begin(begin, hold, cut)
        model = self.model
        self.waiting += b"BDAT %d%b\r\n%b" % (len(body), b" LAST" if last else b"", body)
        taken: tuple[bytes, str, list[str]] | None = None
        if model.sender is None:
            self.expected.append(503)
        elif not model.recipients:
            self.expected.append(503 if self.role == "lmtp" else 554)
            model.forget()
        else:
            model.chunks = (model.chunks or b"") + body
            octets = model.chunks
            if not last:
                bad = STRAY.search(octets.removesuffix(b"\r"))
                self.expected.append(554 if bad else 250)
                if bad:
                    model.forget()
            else:
                if not STRAY.search(octets) and octets and not octets.endswith(b"\r\n"):
                    octets += b"\r\n"
                taken = octets, model.sender, list(model.recipients)
                self.expected += model.message(octets)
        if taken is not None or not hold:
            self._deliver(cut)
        if taken is not None:
            self._was_taken(*taken)

    def _was_taken(self, octets: bytes, sender: str, recipients: list[str]) -> None:
        """The intake has exactly this message, or none if it was refused for what it is."""
        new, self.taken = self.core.intake.taken[self.taken :], len(self.core.intake.taken)
        if STRAY.search(octets):
            assert new == []
            return
        (one,) = new
        assert [recipient.address.local for recipient in one.envelope.recipients] == recipients
        assert str(one.envelope.sender or "") == sender
        assert one.message.endswith(octets)

    # ── ends ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        how=st.sampled_from((b"QUIT\r\n", b"NOOP\n", b"\r", b"NOOP\rNOOP\r\n", b"x" * 20_000, b"DATA\r\n")),
        behind=st.sampled_from((INSIDE, b".\r\n" + INSIDE)), cut=cuts,
    )  # fmt: skip
    def end(self, how: bytes, behind: bytes, cut: int) -> None:
        """What ends a connection: whatever follows, nobody reads it.

        A message in one go with its DATA is such an end; one that comes later may be answered before it is seen.
        """
        data = how == b"DATA\r\n"
        self.waiting += how + behind
        self.expected.append(221 if how == b"QUIT\r\n" else 503 if data else 500)
        self._deliver(1 << 20 if data else cut)
        self._ended()

    @precondition(lambda self: not self.model.tls)
    @rule(behind=st.sampled_from((INSIDE, b"N", b"\r\n", b"\x16\x03\x01", b"EHLO " + MARK.encode() + b"\r\n")))
    def starttls_injected(self, behind: bytes) -> None:
        """What comes in one go with STARTTLS is from nobody knows whom."""
        self.waiting += b"STARTTLS\r\n" + behind
        self.expected.append(503)
        self._deliver(1 << 20)
        assert self.connection.tls is None
        self._ended()

    # ── whatever happens ──────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def nothing_is_taken_that_nobody_may_get(self) -> None:
        for one in self.core.intake.taken:
            assert one.envelope.recipients
            assert all(recipient.address.local in KNOWN or one.session.account for recipient in one.envelope.recipients)

    @invariant()
    def no_message_is_a_command(self) -> None:
        assert not any(MARK in command.lower() for command in self.machine.commands)

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        if self.waiting and not self.session.done():
            self._deliver(1)

        async def end() -> None:
            self.connection.leave()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self.session])

        self.loop.run_until_complete(end())
        self.loop.run_until_complete(self.core.core.dispatch.settle())
        self.loop.close()
        self.folder.cleanup()


TestDialogue = Dialogue.TestCase
TestDialogue.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    phases=[Phase.generate],  # to shrink a dialogue takes minutes; each step's own assertion tells enough
    suppress_health_check=[HealthCheck.too_slow],
)
