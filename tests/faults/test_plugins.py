"""A plugin that raises, hangs, answers nonsense or tries to leave, at every hook, in the real appliance.

What the design's table of hooks promises is seen from outside: as replies, as what is filed and what leaves, and as
a line of the log that names plugin and hook.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.appliance_process import ACCOUNTS, PASSWORD, answers, wait_for
from tests.faults.nexthop import NextHop
from tests.faults.peer import PORTS, Peer, deliver, greeted, imap, last_number, pop3, smtp
from tests.faults.saboteur import AT_START, AWAITED, BY_OTHERS, NAME, Saboteur
from tests.faults.target import Target

LATER = {"web_pages", "commands", "status", "dns_records"}  # asked when somebody wants to know
WAYS = ("raise", "hang", "exit", "cancel", "number", "text", "mixed list", "object")
ANA, LUIS = ACCOUNTS
TEXT = "Subject: {}\r\n\r\ntext\r\n"


@pytest.fixture(scope="module")
def saboteur(tmp_path_factory: pytest.TempPathFactory) -> Saboteur:
    return Saboteur(tmp_path_factory.mktemp("sabotage") / "plugins")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, saboteur: Saboteur, hop: NextHop) -> Iterator[Target]:
    """An appliance with the saboteur before all other plugins."""
    made = _target(tmp_path_factory.mktemp("shop"), saboteur, hop.port)
    made.add_accounts(*ACCOUNTS)
    with made:
        yield made


def _target(folder: Path, saboteur: Saboteur, port: int) -> Target:
    return Target(
        folder,
        top=f'plugin_folder = "{saboteur.folder}"\n'
        f'plugins = ["{NAME}", "mda", "smtp", "imap4", "pop3", "smarthost", "relay"]\n',
        zone="outside MX 10 mx.outside\nmx.outside A 127.0.0.1\n"
        + "".join(f"guarded{n} MX 10 mx.guarded{n}\nmx.guarded{n} A 127.0.0.1\n" for n in range(len(WAYS))),
        tables={"relay": f"port = {port}\n", "auth": "failure_delay = 0.0\n"},
    )


class Scene:
    """One appliance whose plugin is told how to spoil one hook."""

    def __init__(self, shop: Target, saboteur: Saboteur, hop: NextHop) -> None:
        self.shop, self.saboteur, self.hop = shop, saboteur, hop

    def spoiled(self, hook: str, how: str, deed: Callable[[], None]) -> None:
        """Do the deed while the hook is spoiled; then the log has named both, and nobody was harmed for good."""
        logged = self.shop.log.stat().st_size
        self.saboteur.order(hook, how)

        def named() -> bool:
            said = self.shop.log.read_bytes()[logged:].decode()
            return re.search(rf"(?m)^.*\b{NAME}\b.*\b{hook}\b", said) is not None

        try:
            deed()
            wait_for(named, f"{hook}, {how}: a line of the log that names plugin and hook")
        finally:
            self.saboteur.behave()
        assert deliver(self.shop, TEXT.format("afterwards")).startswith(b"250 ")


@pytest.fixture
def scene(shop: Target, saboteur: Saboteur, hop: NextHop) -> Iterator[Scene]:
    yield Scene(shop, saboteur, hop)
    saboteur.behave()


every_way = pytest.mark.parametrize("how", [*WAYS, "yes"])


# ── in the SMTP dialogue: 451, and a plugin's yes is none ─────────────────────────────────────────────────────────


@every_way
def test_in_the_dialogue(scene: Scene, how: str) -> None:
    def connecting() -> None:
        with Peer(scene.shop.ports["mx"]) as peer:
            assert peer.rest().startswith(b"421 4.3.0 ")

    def saying_hello() -> None:
        with greeted(scene.shop, PORTS[0]) as peer:
            assert peer.say("EHLO a.test").startswith(b"451 4.3.0 ")

    def naming_a_sender() -> None:
        with smtp(scene.shop) as peer:
            assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"451 4.3.0 ")

    def naming_recipients() -> None:
        with smtp(scene.shop) as peer:
            assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
            for recipient in (ANA, "victim@outside.test"):
                assert peer.say(f"RCPT TO:<{recipient}>").startswith(b"451 4.3.0 ")

    def naming_ana() -> None:
        with smtp(scene.shop) as peer:
            assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
            assert peer.say(f"RCPT TO:<{ANA}>").startswith(b"451 4.3.0 ")

    def naming_ana_and_a_stranger() -> None:
        with smtp(scene.shop) as peer:
            assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
            assert peer.say(f"RCPT TO:<{ANA}>").startswith(b"451 4.3.0 ")
            assert peer.say("RCPT TO:<victim@outside.test>").startswith(b"550 5.7.1 ")  # nobody is asked about it

    scene.spoiled("smtp_connect", how, connecting)
    scene.spoiled("smtp_helo", how, saying_hello)
    scene.spoiled("smtp_sender", how, naming_a_sender)
    scene.spoiled("smtp_recipient", how, naming_ana_and_a_stranger)
    scene.spoiled("own_recipient", how, naming_recipients)
    for hook in ("expand_recipient", "route_recipient"):
        scene.spoiled(hook, how, naming_ana)


# ── logins: 454, never yes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", WAYS)
def test_at_logins(scene: Scene, how: str) -> None:
    def logging_in(name: str, password: str) -> None:
        plain = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        with greeted(scene.shop, PORTS[1]) as peer:
            peer.say("EHLO a.test")
            assert peer.say(f"AUTH PLAIN {plain}").startswith(b"454 4.7.0 ")
            assert peer.say(f"MAIL FROM:<{ANA}>").startswith(b"530 ")
        with greeted(scene.shop, PORTS[3]) as peer:
            assert peer.command(f'LOGIN {name} "{password}"').startswith(b"c NO [UNAVAILABLE]")
        with greeted(scene.shop, PORTS[5]) as peer:
            peer.send(f"USER {name}\r\nPASS {password}\r\n".encode())
            assert peer.line().startswith(b"+OK")
            assert peer.line().startswith(b"-ERR [SYS/TEMP]")

    scene.spoiled("find_credentials", how, lambda: logging_in(ANA, PASSWORD))
    if how != "text":  # a text is the name of an account, which is not there: that is tried below
        scene.spoiled("verify_password", how, lambda: logging_in("external@palomar.test", "any"))


def test_a_password_confirmed_for_an_account_that_is_not_there(scene: Scene) -> None:
    scene.saboteur.order("verify_password", "text")
    with greeted(scene.shop, PORTS[3]) as peer:
        assert peer.command('LOGIN external@palomar.test "any"').startswith(b"c NO")


# ── the accept path ───────────────────────────────────────────────────────────────────────────────────────────────


@every_way
def test_on_the_accept_path(scene: Scene, how: str) -> None:
    def deferred() -> None:
        assert deliver(scene.shop, TEXT.format("deferred")).startswith(b"451 4.3.0 ")

    def taken() -> None:
        assert deliver(scene.shop, TEXT.format("taken")).startswith(b"250 ")

    with imap(scene.shop) as reader:
        before = last_number(reader)
        for hook in ("message_received", "file_message"):
            scene.spoiled(hook, how, deferred)
        harmless = (
            "authenticate_message", "message_texts", "score_message", "score_recipient", "judge_recipient", "copies",
        )  # fmt: skip
        for hook in harmless:
            scene.spoiled(hook, how, taken)
        assert last_number(reader) == before + 2 + 2 * len(harmless)  # those taken, and one after each


@pytest.mark.parametrize("how", WAYS)
def test_a_decryption_that_crashes_holds_a_message_up_but_not_for_ever(scene: Scene, how: str) -> None:
    said = []

    def tried_again() -> None:
        said.extend(deliver(scene.shop, TEXT.format(f"tried {how}"))[:4] for _ in range(3))

    scene.spoiled("transform_inbound", how, tried_again)
    assert said == [b"451 ", b"451 ", b"250 "]


def retried(shop: Target) -> None:
    shop.command("queue", "retry", "--all")


def test_one_who_cannot_be_served_now_is_served_later(scene: Scene, hop: NextHop) -> None:
    """A message for one of ours, whose filing fails, and for somebody outside: the peer hears one reply for both."""
    before = len(hop.messages)

    def sent() -> None:
        with smtp(scene.shop, "submission") as peer:
            peer.say(f"MAIL FROM:<{ANA}>")
            assert peer.say(f"RCPT TO:<{LUIS}>").startswith(b"250 ")
            assert peer.say("RCPT TO:<friend@outside.test>").startswith(b"250 ")
            peer.say("DATA")
            peer.send(TEXT.format("for two").encode() + b".\r\n")
            assert peer.reply().startswith(b"250 ")
        wait_for(lambda: len(hop.messages) > before, "the copy that leaves")

    with imap(scene.shop, LUIS) as reader:
        seen = last_number(reader)
        scene.spoiled("file_message", "raise", sent)
        retried(scene.shop)
        wait_for(lambda: last_number(reader) == seen + 1, "the copy that stays")
    wait_for(lambda: scene.shop.queued == [], "an empty queue")


@pytest.mark.parametrize("how", WAYS)
def test_nothing_leaves_in_clear_by_accident(scene: Scene, hop: NextHop, how: str) -> None:
    """What encrypts, chooses the sender, or says what TLS must be has failed: the message waits."""
    guarded = f"guarded{WAYS.index(how)}"  # nothing was sent there before, so there is no connection to use again
    for hook, domain in (
        ("transform_outbound", "outside"),
        ("outbound_sender", "outside"),
        ("protect_domain", guarded),
    ):
        before = len(hop.messages)

        def sent(domain: str = domain) -> None:
            with smtp(scene.shop, "submission") as peer:
                peer.say(f"MAIL FROM:<{ANA}>")
                peer.say(f"RCPT TO:<friend@{domain}.test>")
                peer.say("DATA")
                peer.send(TEXT.format(f"secret {how}").encode() + b".\r\n")
                assert peer.reply().startswith(b"250 ")
            wait_for(lambda: any(entry["attempts"] for entry in scene.shop.queued), "an attempt")

        scene.spoiled(hook, how, sent)
        assert len(hop.messages) == before
        retried(scene.shop)
        wait_for(lambda count=before: len(hop.messages) == count + 1, "the message, once the plugin works again")
        wait_for(lambda: scene.shop.queued == [], "an empty queue")


@every_way
def test_what_the_appliance_writes_is_sent_all_the_same(scene: Scene, how: str) -> None:
    with imap(scene.shop) as reader:
        before = last_number(reader)

        def told() -> None:
            with smtp(scene.shop, "submission") as peer:
                peer.say(f"MAIL FROM:<{ANA}>")
                assert peer.say(f"RCPT TO:<{LUIS}> NOTIFY=SUCCESS").startswith(b"250 ")
                peer.say("DATA")
                peer.send(TEXT.format("with a receipt").encode() + b".\r\n")
                assert peer.reply().startswith(b"250 ")
            wait_for(lambda: last_number(reader) > before, "the receipt")

        scene.spoiled("message_written", how, told)


# ── notices: the log, and nothing else ────────────────────────────────────────────────────────────────────────────


@every_way
def test_notices_disturb_nobody(scene: Scene, hop: NextHop, how: str) -> None:
    def taken() -> None:
        assert deliver(scene.shop, TEXT.format("noticed")).startswith(b"250 ")

    def moved() -> None:
        with imap(scene.shop) as peer:
            last_number(peer)
            assert b"c OK" in peer.command("MOVE 1 Archive")

    def expunged() -> None:
        with imap(scene.shop) as peer:
            last_number(peer)
            assert b"c OK" in peer.command("STORE 1 +FLAGS (\\Deleted)")
            assert b"c OK" in peer.command("EXPUNGE")

    def fetched_and_deleted() -> None:
        with pop3(scene.shop) as peer:
            peer.send(b"DELE 1\r\nQUIT\r\n")
            assert [line[:3] for line in peer.rest().splitlines()] == [b"+OK", b"+OK"]

    def settled() -> None:
        before = len(hop.messages)
        with smtp(scene.shop, "submission") as peer:
            peer.send(f"MAIL FROM:<{ANA}>\r\nRCPT TO:<friend@outside.test>\r\nDATA\r\n".encode())
            assert [peer.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
            peer.send(TEXT.format("settled").encode() + b".\r\n")
            assert peer.reply().startswith(b"250 ")
        wait_for(lambda: len(hop.messages) == before + 1, "the message that leaves")

    def failed() -> None:
        with greeted(scene.shop, PORTS[3]) as peer:
            assert peer.command(f'LOGIN {ANA} "wrong"').startswith(b"c NO [AUTHENTICATIONFAILED]")

    def leaving() -> None:
        with greeted(scene.shop, PORTS[0]) as peer:
            assert peer.say("QUIT").startswith(b"221 ")

    def refused() -> None:
        with greeted(scene.shop, PORTS[0]) as peer:
            assert peer.say("NONSENSE").startswith(b"500 ")
            assert peer.say("NOOP").startswith(b"250 ")

    scene.spoiled("smtp_refused", how, refused)
    scene.spoiled("smtp_disconnect", how, leaving)
    scene.spoiled("message_accepted", how, taken)
    scene.spoiled("message_moved", how, moved)
    scene.spoiled("message_expunged", how, expunged)
    scene.spoiled("message_expunged", how, fetched_and_deleted)
    scene.spoiled("delivery_settled", how, settled)
    scene.spoiled("login_failed", how, failed)


# ── at start-up ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hook", [hook for hook in AT_START if hook not in LATER])
def test_at_the_start_nothing_is_half_started(tmp_path: Path, saboteur: Saboteur, hook: str) -> None:
    """No port is open, and the last words name the plugin and the hook."""
    office = _target(tmp_path, saboteur, 25)
    for how in ("raise", "mixed list"):
        saboteur.order(hook, how)
        try:
            with pytest.raises(AssertionError) as stopped:
                office.start()
        finally:
            saboteur.behave()
            office.kill()
        words = str(stopped.value)
        assert "ended at once" in words, (how, words)
        assert NAME in words, (how, words)
        assert hook in words, (how, words)
        assert "Traceback" not in words, (how, words)
        assert not any(answers(port) for port in office.ports.values())
        office.log.write_text("")


def test_every_awaited_hook_is_spoiled_somewhere_here() -> None:
    source = Path(__file__).read_text()
    assert {hook for hook in AWAITED if f'"{hook}"' not in source} == BY_OTHERS
