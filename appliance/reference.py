"""The references of settings and hooks, made from their declarations: `palomar config --document`, `palomar hooks`."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Literal

from appliance import hookspecs
from appliance.config import Bind, Section

COMBINATIONS = {
    "list": "the answers of all plugins are joined",
    "severest": "all plugins run; the most severe reply wins",
    "first": "plugins are asked in order until one answers",
    "join": "the answers of all plugins are joined",
    "chain": "each plugin gets what the one before it made",
    "collect": "what all plugins answer is collected",
    "notify": "all plugins are told; nobody waits for them",
}
FAILURES = {
    "stop": "the appliance does not start",
    "keep": "what was known before stays in force",
    "reply451": "the peer gets 451 and tries again later",
    "reply454": "the login gets 454: neither yes nor no",
    "finding": "the finding is `unavailable`; the plugin's `ABSENCE` says whether that is ignored or defers",
    "as_received": "the peer gets 451; after three such failures the message is filed as it was received",
    "defer": "the recipient is tried again later",
    "log": "it is logged",
}


@dataclasses.dataclass(frozen=True, slots=True)
class HookDeclaration:
    """One hook as it is declared: name, signature, rule and contract."""

    name: str
    signature: str
    awaited: bool
    combine: str
    on_failure: str
    deadline_s: float
    contract: str


def hooks() -> list[HookDeclaration]:
    """Every hook, in the order of the page that declares them."""
    found = [function for function in vars(hookspecs).values() if hasattr(function, "rule_combine")]
    return [_hook(function) for function in sorted(found, key=lambda f: f.__code__.co_firstlineno)]


def _hook(function: Callable[..., Any]) -> HookDeclaration:
    rule: Any = function
    signature = inspect.signature(function)
    return HookDeclaration(
        function.__name__,
        str(signature).replace("'", ""),
        inspect.iscoroutinefunction(function),
        rule.rule_combine,
        rule.rule_on_failure,
        rule.rule_deadline,
        inspect.getdoc(function) or "",
    )


def hooks_document() -> str:
    """`docs/hooks.md`."""
    lines = [
        "# Hooks",
        "",
        "Made from `appliance/hookspecs.py` by `make docs`; do not edit. How to use them: [plugins.md](plugins.md).",
        "",
        "| Hook | Kind | Answers | If a plugin fails |",
        "|---|---|---|---|",
    ]
    declared = hooks()
    for hook in declared:
        kind = "awaited" if hook.awaited else "at start-up"
        lines.append(f"| [`{hook.name}`](#{hook.name}) | {kind} | {hook.combine} | {hook.on_failure} |")
    for hook in declared:
        lines += ["", f"## {hook.name}", "", "```python", _source(hook), "```", "", hook.contract, ""]
        lines.append(f"*Combination:* {COMBINATIONS[hook.combine]}.  ")
        lines.append(f"*If a plugin fails:* {FAILURES[hook.on_failure]}.  ")
        if hook.awaited:
            lines.append(f"*Deadline:* {hook.deadline_s:g} s for each plugin and call.")
    return "\n".join(lines).rstrip() + "\n"


def _source(hook: HookDeclaration) -> str:
    return f"{'async ' if hook.awaited else ''}def {hook.name}{hook.signature}"


@dataclasses.dataclass(frozen=True, slots=True)
class SettingDeclaration:
    """One setting as it is declared. `default` is TOML, empty where the setting must be given."""

    section: str
    name: str
    type: str
    default: str
    help: str


def settings(sections: Sequence[Section]) -> list[SettingDeclaration]:
    """Every setting of the sections, in order of declaration; nested tables follow the setting that holds them."""
    return [declared for section in sections for declared in _settings(section.name, section.cls)]


def _settings(section: str, cls: type) -> Iterator[SettingDeclaration]:
    hints = typing.get_type_hints(cls)
    inner: list[SettingDeclaration] = []
    for field in dataclasses.fields(cls):
        default: Any = field.default if field.default_factory is MISSING else field.default_factory()
        shown = "" if default is MISSING else toml(default)
        yield SettingDeclaration(
            section, field.name, type_words(hints[field.name]), shown, field.metadata.get("help", "")
        )
        if (table := _nested(hints[field.name])) is not None:
            name = f"{section}.{field.name}" if section else field.name
            shape = typing.get_origin(hints[field.name])
            inner += _settings(f"[{name}]" if shape is tuple else f"{name}.<name>" if shape is dict else name, table)
    yield from inner


def _nested(hint: Any) -> type | None:
    """The dataclass that a setting's table or tables fill."""
    if dataclasses.is_dataclass(hint) and hint is not Bind:
        return typing.cast("type", hint)
    return next((found for one in typing.get_args(hint) if (found := _nested(one)) is not None), None)


def type_words(hint: Any) -> str:
    """What the type of a setting is called in the reference."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    plain = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path", Bind: "address"}
    if hint in plain:
        return plain[hint]
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(type_words(one) for one in arguments if one is not type(None)) + ", optional"
    if origin is Literal:
        return "text: " + " or ".join(toml(one) for one in arguments)
    if origin is tuple:
        return f"list of {type_words(arguments[0])}"
    if origin is dict:
        return f"table of {type_words(arguments[1])}"
    return "table"


def toml(value: Any) -> str:
    """A default as it would be written in the file; empty for None, which is written by leaving the setting out."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:_}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(toml(one) for one in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(one)}" for name, one in value.items()) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, Bind):
        return ""
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def settings_document(sections: Sequence[Section]) -> str:
    """`docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        "Made from the declarations in the code by `make docs`; do not edit. One file, `palomar.toml`, holds them all;",
        "`palomar check` reads it and tells every problem with its line. Paths are relative to the file.",
    ]
    current = None
    for one in settings(sections):
        if one.section != current:
            current = one.section
            title = f"`[{current}]`" if current else "Top level"
            lines += ["", f"## {title}", "", "| Setting | Type | Default | |", "|---|---|---|---|"]
        shown = f"`{one.default}`" if one.default else ""
        lines.append("| " + " | ".join((f"`{one.name}`", one.type, shown, one.help.replace("|", "\\|"))) + " |")
    return "\n".join(lines) + "\n"
