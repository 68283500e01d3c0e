"""Rules about imports that the contracts cannot name, and that each `protocol*.py` stands in the one of the pure."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMPURE = {"asyncio", "socket", "ssl", "sqlite3", "threading", "time", "random", "os", "secrets", "selectors"}
PURE = sorted(
    [
        *ROOT.glob("plugins/**/protocol*.py"),
        *ROOT.glob("appliance/mail/*.py"),
        *ROOT.glob("appliance/wire/**/*.py"),
        ROOT / "appliance" / "queue" / "schedule.py",
    ]
)
COMMANDS_DOOR = "appliance.commands.terminal"  # what commands print is printed in one way
OPEN_DOORS_CLOSED = {"cli", "commands", "app", "calls", "control", "controlclient", "supervisor", "loop", "demo"}


def imports(path: Path) -> set[str]:
    """Every module imported at run time; those below `if TYPE_CHECKING` do not count."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_modules_do_no_io_and_know_no_time(path: Path) -> None:
    assert {name.partition(".")[0] for name in imports(path)} & IMPURE == set()


def test_every_protocol_machine_stands_in_the_contract_of_the_pure() -> None:
    """A wildcard there replaces whole names only, so each is named."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    named = contracts["importlinter:contract:pure"]["source_modules"].split()
    files = [path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("plugins/**/protocol*.py")]
    assert sorted(name for name in named if name.startswith("plugins.")) == sorted(".".join(p.parts) for p in files)


PURE_PARTS = ("appliance.errors", "appliance.mail", "appliance.wire")


@pytest.mark.parametrize("path", sorted(ROOT.glob("plugins/**/protocol*.py")), ids=lambda path: str(path))
def test_protocol_machines_know_values_and_grammar_only(path: Path) -> None:
    own = re.escape(".".join(path.relative_to(ROOT).parts[:2]))  # one check of spam/ may build on another's
    machine = re.compile(rf"{own}(?:\.[a-z_0-9]+)?\.protocol")
    for name in imports(path):
        known = name.startswith(PURE_PARTS) or machine.match(name)
        assert known or not name.startswith(("appliance.", "plugins.")), name


@pytest.mark.parametrize("path", sorted(ROOT.glob("plugins/*/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_use_the_open_doors_only(path: Path) -> None:
    role = path.relative_to(ROOT).parts[1]
    for name in imports(path):
        parts = name.split(".")
        if path.name == "command.py" and name.startswith(COMMANDS_DOOR):
            continue
        assert not (parts[0] == "appliance" and len(parts) > 1 and parts[1] in OPEN_DOORS_CLOSED), name
        assert not (parts[0] == "plugins" and len(parts) > 1 and parts[1] != role), name


POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+")


@pytest.mark.parametrize("path", sorted([*ROOT.glob("appliance/**/*.py"), *ROOT.glob("plugins/**/*.py")]), ids=str)
def test_no_pattern_has_a_possessive_group(path: Path) -> None:
    """Before 3.11.5, which is later than Debian 12's, `re` gets `(ab?c)*+` wrong; `(?>(?:ab?c)*)` is right."""
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    patterns = [text.decode("latin-1") if isinstance(text, bytes) else text for text in texts]
    assert [text for text in patterns if isinstance(text, str) and POSSESSIVE_GROUP.search(text)] == []
