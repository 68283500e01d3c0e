"""No account ever sees or changes a mailbox without the right to: three accounts at random, beside a model of them."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.mail.rights import ALL_RIGHTS
from tests.plugins.imap4.office import ANA, LUIS, Client, office

INES = "ines@palomar.test"
ACCOUNTS = (ANA, LUIS, INES)
BOXES = ("INBOX", "Archive")
LETTER = "Subject: one\r\n\r\ntext\r\n"
SETS = {"\\Seen": "s", "\\Deleted": "t", "\\Flagged": "w", "work": "w"}
NEEDS = {
    "SELECT {}": "r", "EXAMINE {}": "r", "STATUS {} (MESSAGES)": "r", "APPEND {} {{22+}}\r\n" + LETTER: "i",
    "GETACL {}": "a", "LISTRIGHTS {} anyone": "a", "GETMETADATA {} /shared/comment": "lr",
    'SETMETADATA {} (/shared/comment "x")': "lrw", 'SETMETADATA {} (/private/comment "x")': "lr",
}  # fmt: skip


class Grant(NamedTuple):
    """One account says who may do what with one of its mailboxes, or tries to with another's."""

    actor: str
    owner: str
    box: str
    whom: str
    negative: bool
    mode: str
    rights: str


class Try(NamedTuple):
    """A command about a mailbox."""

    actor: str
    owner: str
    box: str
    command: str


class Mark(NamedTuple):
    """A flag that is set or taken away, or messages that are removed."""

    actor: str
    owner: str
    box: str
    mode: str
    flag: str


class Carry(NamedTuple):
    """Messages come from one's own Sent (COPY), or go to one's own Drafts (MOVE)."""

    actor: str
    owner: str
    box: str
    verb: str


class Below(NamedTuple):
    """A mailbox below another is created, renamed and deleted; the owner cleans up."""

    actor: str
    owner: str
    box: str


Step = Grant | Try | Mark | Carry | Below

# Most is about one mailbox of Ana's, whose rights she changes again and again: there they meet.
owners, boxes = st.sampled_from((ANA, ANA, ANA, LUIS)), st.sampled_from(("INBOX", "INBOX", "INBOX", "Archive"))
accounts, others = st.sampled_from(ACCOUNTS), st.sampled_from((LUIS, INES))
rights = st.sets(st.sampled_from(ALL_RIGHTS), max_size=10).map("".join) | st.sampled_from(("lr", "lrs", "lrswite"))
modes = st.sampled_from(("", "", "+", "-"))
whom = st.sampled_from((*ACCOUNTS, LUIS, INES, "anyone"))
grants = st.builds(Grant, st.just(ANA), st.just(ANA), boxes, whom, st.booleans(), modes, rights)
marks = st.builds(Mark, others, owners, boxes, st.sampled_from("+-"), st.sampled_from(sorted(SETS)))
steps = st.one_of(
    grants,
    marks,
    st.builds(Grant, accounts, owners, boxes, whom, st.booleans(), modes, rights),
    st.builds(Try, others, owners, boxes, st.sampled_from(sorted(NEEDS))),
    st.builds(Mark, others, owners, boxes, st.just("e"), st.just("")),
    st.builds(Carry, others, owners, boxes, st.sampled_from(("COPY", "MOVE"))),
    st.builds(Below, others, owners, boxes),
)


class Model:
    """Who may do what, and what is in the mailboxes."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], dict[tuple[str, bool], set[str]]] = {}
        self.messages: dict[tuple[str, str], list[set[str]]] = {
            (owner, box): [set()] for owner in ACCOUNTS for box in BOXES
        }

    def rights(self, actor: str, owner: str, box: str) -> set[str]:
        if actor == owner:
            return set(ALL_RIGHTS)
        found = self.entries.get((owner, box), {})
        given_, taken = (
            {right for whom in (actor, "anyone") for right in found.get((whom, negative), ())}
            for negative in (False, True)
        )
        return given_ - taken

    def outcome(self, rights: set[str], needed: str) -> str:
        return "OK" if rights.issuperset(needed) else "NO [NOPERM]" if "l" in rights else "NO [NONEXISTENT]"

    def grant(self, step: Grant) -> str:
        outcome = self.outcome(self.rights(step.actor, step.owner, step.box), "a")
        if outcome != "OK":
            return outcome
        if step.whom == step.owner:
            return "NO [CANNOT]" if step.negative else "OK"
        entry = self.entries.setdefault((step.owner, step.box), {}).setdefault((step.whom, step.negative), set())
        if step.mode == "-":
            entry -= set(step.rights)
        else:
            if not step.mode:
                entry.clear()
            entry |= set(step.rights)
        return outcome


def name_for(actor: str, owner: str, box: str) -> str:
    return box if actor == owner else f'"Other Users/{owner}/{box}"'


class Player:
    """Carries out the steps, and compares."""

    def __init__(self, clients: dict[str, Client]) -> None:
        self.clients = clients
        self.model = Model()

    async def step(self, step: Step) -> None:
        client, name = self.clients[step.actor], name_for(step.actor, step.owner, step.box)
        if isinstance(step, Grant):
            whom = f"-{step.whom}" if step.negative else step.whom
            completion = await client.completion(f'SETACL {name} {whom} "{step.mode}{step.rights}"')
            assert completion.startswith(self.model.grant(step))
        elif isinstance(step, Try):
            outcome = self.model.outcome(self.model.rights(*step[:3]), NEEDS[step.command])
            adds = step.command.startswith("APPEND")
            completion = await client.completion(step.command.format(name))
            assert completion.startswith(outcome.replace("NONEXISTENT", "TRYCREATE") if adds else outcome)
            if adds and outcome == "OK":
                self.model.messages[step.owner, step.box].append(set())
        elif isinstance(step, Carry):
            await self.carry(client, name, step)
        elif isinstance(step, Below):
            await self.below(client, name.strip('"'), step)
        else:
            await self.mark(client, name, step)

    async def carry(self, client: Client, name: str, step: Carry) -> None:
        model, key, rights = self.model, (step.owner, step.box), self.model.rights(*step[:3])
        if step.verb == "COPY":
            await client.ok("EXAMINE Sent")
            outcome = model.outcome(rights, "i")
            assert (await client.completion(f"COPY 1 {name}")).startswith(outcome.replace("NONEXISTENT", "TRYCREATE"))
            if outcome == "OK":
                model.messages[key].append(set())
        elif "r" in rights and model.messages[key]:
            await client.ok(f"SELECT {name}")
            completion = await client.completion("MOVE 1:* Drafts")
            assert completion.startswith("OK") == rights.issuperset("te")
            if rights.issuperset("te"):
                model.messages[key] = []

    async def below(self, client: Client, name: str, step: Below) -> None:
        rights = self.model.rights(*step[:3])
        may_create, owner = step.actor == step.owner or "k" in rights, self.clients[step.owner]
        completion = await client.completion(f'CREATE "{name}/One"')
        assert completion.startswith("OK" if may_create else "NO [NOPERM]")
        if not may_create:
            await owner.ok(f'CREATE "{step.box}/One"')
        completion = await client.completion(f'RENAME "{name}/One" "{name}/Two"')
        assert completion.startswith("OK") == rights.issuperset("xk")
        left = "Two" if rights.issuperset("xk") else "One"
        completion = await client.completion(f'DELETE "{name}/{left}"')
        assert completion.startswith(self.model.outcome(rights, "x"))
        if not completion.startswith("OK"):
            await owner.ok(f'DELETE "{step.box}/{left}"')

    async def mark(self, client: Client, name: str, step: Mark) -> None:
        model, key, rights = self.model, (step.owner, step.box), self.model.rights(*step[:3])
        opened = await client.completion(f"SELECT {name}")
        assert opened.startswith(model.outcome(rights, "r"))
        if "r" not in rights or not model.messages[key]:
            return
        writable = not rights.isdisjoint("swtei")
        assert ("[READ-WRITE]" in opened) == writable
        if step.mode == "e":
            await self.remove(client, key, rights)
            return
        completion = await client.completion(f"STORE 1:* {step.mode}FLAGS ({step.flag})")
        if writable and SETS[step.flag] in rights:
            assert completion.startswith("OK")
            for flags in model.messages[key]:
                (flags.add if step.mode == "+" else flags.discard)(step.flag)
        else:
            assert completion.startswith(("NO [READ-ONLY]", "NO [NOPERM]", "NO [NONEXISTENT]"))

    async def remove(self, client: Client, key: tuple[str, str], rights: set[str]) -> None:
        completion = await client.completion("EXPUNGE")
        assert completion.startswith("OK") == ("e" in rights)
        if "e" in rights:
            self.model.messages[key] = [flags for flags in self.model.messages[key] if "\\Deleted" not in flags]

    async def check(self) -> None:
        """What each account sees of all mailboxes, and that nothing has changed without a right."""
        for actor, client in self.clients.items():
            listed = {line.rpartition(b' "/" ')[2] for line in await client.ok('LIST "Other Users/" *')}
            seen = {name for name in listed if name.count(b"/") == 2}
            for owner in ACCOUNTS:
                for box in BOXES:
                    rights = self.model.rights(actor, owner, box)
                    name = name_for(actor, owner, box)
                    assert actor == owner or (name.encode() in seen) == ("l" in rights)
                    untagged, completion = await client.command(f"MYRIGHTS {name}")
                    if rights.isdisjoint("lrikxa"):
                        assert completion.startswith(b"NO [NONEXISTENT]")
                    else:
                        told = untagged[-1].rpartition(b" ")[2].decode()
                        assert set(told) - set("cd") == rights

    async def check_contents(self) -> None:
        """As their owners see them: nothing is there, and nothing is gone or marked, but by who had the right."""
        for (owner, box), messages in self.model.messages.items():
            client = self.clients[owner]
            await client.ok(f"EXAMINE {box}")
            lines = await client.ok("FETCH 1:* FLAGS") if messages else []
            flags = [set(line.partition(b"FLAGS (")[2].rstrip(b")").decode().split()) - {"\\Recent"} for line in lines]
            assert flags == messages


async def play(folder: Path, chosen: list[Step]) -> None:
    async with office(folder, accounts=ACCOUNTS) as here:
        for owner in ACCOUNTS:
            for box in BOXES:
                await here.put(LETTER.encode(), mailbox=box, account=owner)
            await here.put(LETTER.encode(), mailbox="Sent", account=owner)
        player = Player({account: await here.login(account=account) for account in ACCOUNTS})
        for step in chosen:
            await player.step(step)
        await player.check()
        await player.check_contents()


@settings(max_examples=40, deadline=None)
@given(st.lists(grants, min_size=3, max_size=6), st.lists(steps, min_size=20, max_size=60))
def test_nobody_sees_or_changes_what_is_not_shared(first: list[Grant], chosen: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), [*first, *chosen]))
