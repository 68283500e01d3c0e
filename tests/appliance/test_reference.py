"""The references that are made from declarations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from appliance.config import CORE_SECTIONS, Bind, Section, setting
from appliance.reference import COMBINATIONS, FAILURES, hooks, settings, settings_document, toml, type_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """[[example.rules]]"""

    domain: str = setting("", "Whose mail.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """[example]"""

    binds: tuple[Bind, ...] = setting((Bind("", 25), Bind("::1", 26)), "Where | to listen.")
    limit: int = setting(50_000_000, "Octets.")
    mode: Literal["a", "b"] = setting("a", "Which.")
    folder: Path | None = setting(None, "Where.")
    rules: tuple[Rule, ...] = setting((), "Rules.")
    ports: dict[str, int] = setting({"x": 1}, "Ports.")
    names: dict[str, Rule] = setting({}, "Names.")


def test_settings_are_documented_with_type_default_and_help() -> None:
    declared = settings([Section("example", Example)])
    assert [(one.section, one.name, one.type, one.default) for one in declared] == [
        ("example", "binds", "list of address", '[":25", "[::1]:26"]'),
        ("example", "limit", "integer", "50_000_000"),
        ("example", "mode", 'text: "a" or "b"', '"a"'),
        ("example", "folder", "path, optional", ""),
        ("example", "rules", "list of table", "[]"),
        ("example", "ports", "table of integer", "{x = 1}"),
        ("example", "names", "table of table", "{}"),
        ("[example.rules]", "domain", "text", '""'),
        ("example.names.<name>", "domain", "text", '""'),
    ]


def test_the_document_keeps_its_tables_whole() -> None:
    text = settings_document([*CORE_SECTIONS, Section("example", Example)])
    assert "## Top level" in text
    assert "## `[example]`" in text
    assert "## `[[example.rules]]`" in text
    assert "Where \\| to listen." in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (9999, "9999"),
        (10_000, "10_000"),
        (1.5, "1.5"),
        (None, ""),
        ('a"b\\', '"a\\"b\\\\"'),
        (Path("/var"), '"/var"'),
        (("a", 1), '["a", 1]'),
        ({"a": ("b",)}, '{a = ["b"]}'),
    ],
)
def test_defaults_are_shown_as_toml(value: object, shown: str) -> None:
    assert toml(value) == shown


def test_type_words() -> None:
    assert type_words(bool) == "true or false"
    assert type_words(dict[str, tuple[str, ...]]) == "table of list of text"


def test_every_hook_is_found_with_rule_and_contract() -> None:
    found = {hook.name: hook for hook in hooks()}
    assert found["smtp_recipient"].awaited
    assert not found["settings"].awaited
    assert found["own_recipient"].deadline_s == 20
    for hook in found.values():
        assert hook.combine in COMBINATIONS
        assert hook.on_failure in FAILURES
        assert hook.contract
