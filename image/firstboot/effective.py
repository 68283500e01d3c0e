"""The configuration in force, made of what stands on the card: checked whole by Palomar itself before it counts."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.config import CoreConfig, Section
from appliance.document import Document, Key, dotted, key_of
from appliance.errors import ConfigError, Problem
from appliance.mail.address import domain_key
from appliance.settings import read_settings
from image.firstboot.config import STORED, SetupConfig
from image.firstboot.durable import Disk
from image.firstboot.literals import quoted, replaced, value_at, without
from image.firstboot.places import CONFIG_NAME, PRESEED_NAME, Places
from image.firstboot.preseed import Preseed
from image.firstboot.system import CommandError, owner, run_palomar

NETWORK = "network"  # the plugin that tells mail of the network; it comes with palomar-hw
_FIXED = {"data": "the appliance keeps everything on the card's data partition"}
_ANOTHER_CARD = "was moved to the data partition of another card, or is gone since a reset."
_SETUP = Section("setup", SetupConfig)


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration that Palomar takes: its text for the data partition, and what to do with the card's file.

    `kept` are the secrets by number, `blanked` what takes the place of each on the card.
    """

    text: str
    setup: SetupConfig
    kept: Mapping[str, str] = field(default_factory=dict, repr=False)
    blanked: Mapping[Key, str] = field(default_factory=dict)
    hostname: str = ""
    certificate: str = ""


def check(
    places: Places, disk: Disk, document: Document, text: str, preseed: Preseed, *, name: str, kept: Mapping[str, str]
) -> Checked:
    """Make the configuration of the card's file and let Palomar read it. `kept` are the secrets of earlier starts.

    Raises ConfigError with all problems, CommandError if Palomar cannot be asked, OSError.
    """
    setup, problems = _setup(document)
    restored, unknown = _restored(document, kept)
    problems += unknown
    problems += [
        document.problem((key,), f"cannot be set: {why}.", "Take it out.")
        for key, why in _FIXED.items()
        if key in document.data
    ]
    head = _head(places, document.data, preseed.hostname or f"{name}.local")
    body = without(replaced(text, restored), "setup")
    tail, own_network = _tail(document, body, preseed)
    answer, found = _asked(places, disk, f"{head}{body}{tail}")
    lines = _Lines(head.count("\n"), len(body.splitlines()), own_network)
    problems += [lines.placed(problem) for problem in found]
    problems += _foreign_accounts(document, setup)
    if problems:
        raise ConfigError(sorted(problems, key=lambda one: (one.file, one.line)))
    blanked, numbers = _numbered(document, restored, answer["secrets"])
    for place, account in enumerate(setup.accounts):
        if not account.is_stored:
            blanked["setup", "accounts", place, "password"] = "(stored)"
    rows = {(row["section"], row["setting"]): row["value"] for row in answer["settings"]}
    return Checked(
        f"{head}{body}{tail}",
        setup,
        numbers,
        blanked,
        str(rows.get(("", "hostname")) or name),
        str(rows.get(("tls", "certificate")) or ""),
    )


def defaults(places: Places, disk: Disk, name: str, preseed: Preseed) -> Checked:
    """The configuration of an appliance that nobody has set up: it has a name and no accounts.

    What the Imager said of the network is in it, if that is good.
    """
    empty = Document({}, places.config / CONFIG_NAME, {})
    for one in (preseed, Preseed()):
        try:
            return check(places, disk, empty, "", one, name=name, kept={})
        except (ConfigError, CommandError):
            continue
    # Even Palomar itself cannot be asked. What it would say is known: there is nothing in this that can be wrong.
    return Checked(_head(places, {}, f"{name}.local"), SetupConfig(), hostname=f"{name}.local")


def _setup(document: Document) -> tuple[SetupConfig, list[Problem]]:
    settings, problems = read_settings(document, [_SETUP], passed_over=document.data)
    return settings[SetupConfig], problems


def _head(places: Places, data: Mapping[str, object], hostname: str) -> str:
    """The settings that the appliance adds in front, where the user has none of his own."""
    lines = ["# Made by palomar-boot of the file on the boot partition; changes here are lost. Edit that one."]
    own = {
        "data": quoted(str(places.mail)),
        "hostname": quoted(hostname),
        "plugins": f"[{', '.join(map(quoted, _plugins()))}]",
    }
    lines += [f"{key} = {value}" for key, value in own.items() if key not in data]
    return "\n".join(lines) + "\n"


def _plugins() -> tuple[str, ...]:
    usual: tuple[str, ...] = CoreConfig().plugins
    return (*usual, NETWORK) if importlib.metadata.entry_points(group="palomar.plugins", name=NETWORK) else usual


def _tail(document: Document, body: str, preseed: Preseed) -> tuple[str, Preseed]:
    """The Imager's network, where palomar.toml says nothing of the network."""
    if not preseed.network or "network" in document.data:
        return "", dataclasses.replace(preseed, sources=())
    gap = "" if body.endswith("\n") or not body else "\n"
    return f"{gap}# from {PRESEED_NAME}\n{preseed.network}\n", preseed


def _restored(document: Document, kept: Mapping[str, str]) -> tuple[dict[Key, str], list[Problem]]:
    """The stored secrets by the keys at which the card's file names them, and names of secrets that are not here."""
    found: dict[Key, str] = {}
    problems = []
    for key, value in _strings((), document.data):
        if key[0] == "setup" or (mark := STORED.fullmatch(value)) is None:
            continue
        if mark[1] in kept:
            found[key] = kept[mark[1]]
        else:
            problems.append(document.problem(key, f"the secret {_ANOTHER_CARD}", "Write it again."))
    return found, problems


def _strings(key: Key, value: object) -> list[tuple[Key, str]]:
    if isinstance(value, str):
        return [(key, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [pair for part, item in items for pair in _strings((*key, part), item)]


def _asked(places: Places, disk: Disk, text: str) -> tuple[dict[str, Any], list[Problem]]:
    """Let Palomar read a draft, which only root and the mail user can read. Raises CommandError, OSError."""
    draft = places.config / f"{CONFIG_NAME}.draft"
    whose = owner(places)
    disk.write(draft, text.encode(), 0o640, (0, whose[1]) if whose else None)
    try:
        done = run_palomar(places, "--config", str(draft), "config", "--json")
    finally:
        draft.unlink(missing_ok=True)
    try:
        answer = json.loads(done.out)
    except ValueError:
        raise CommandError(f"palomar config: {done.last_words}") from None
    return answer, [Problem(**one) for one in answer.get("problems", ())]


@dataclass(frozen=True, slots=True)
class _Lines:
    """Where the lines of a draft come from: `head` of them are ours, then come `body` ones of palomar.toml."""

    head: int
    body: int
    preseed: Preseed

    def placed(self, problem: Problem) -> Problem:
        """The problem, with the file and line that the user can correct."""
        line = problem.line - self.head
        if 0 < line <= self.body:
            return dataclasses.replace(problem, file=CONFIG_NAME, line=line)
        for setting, key in self.preseed.sources:
            if problem.setting.startswith(setting):
                text = f"({dotted(*key)}) {problem.text}"
                return dataclasses.replace(problem, text=text, file=PRESEED_NAME, line=0)
        from_preseed = bool(self.preseed.network) and line > self.body
        return dataclasses.replace(problem, file=PRESEED_NAME if from_preseed else CONFIG_NAME, line=0)


def _foreign_accounts(document: Document, setup: SetupConfig) -> list[Problem]:
    """Accounts whose domain is not ours: Palomar would not make them."""
    domains = document.data.get("domains")
    ours = {domain_key(one.lower()) for one in domains if isinstance(one, str)} if isinstance(domains, list) else set()
    problems = []
    for place, account in enumerate(setup.accounts):
        domain = account.name.rpartition("@")[2].lower()
        if domain and not account.is_stored and domain_key(domain) not in ours:
            text = f"{domain} is not among domains."
            remedy = f'Add it, as in domains = ["{domain}"], before the first line in brackets.'
            problems.append(document.problem(("setup", "accounts", place, "name"), text, remedy))
    return problems


def _numbered(
    document: Document, restored: Mapping[Key, str], names: Sequence[str]
) -> tuple[dict[Key, str], dict[str, str]]:
    """Give every secret a number: what stands on the card instead, and what is kept under it."""
    blanked: dict[Key, str] = {}
    numbers: dict[str, str] = {}
    for key in map(key_of, names):
        value = value_at(document.data, key)
        if not isinstance(value, str):
            continue  # from the Imager's file
        if key in restored:
            mark = STORED.fullmatch(value)
            assert mark is not None
            numbers[mark[1]] = restored[key]
        else:
            number = secrets.token_hex(4)
            numbers[number] = value
            blanked[key] = f"(stored {number})"
    return blanked, numbers
