"""Plugins are found in three places, and refused with words when they do not fit."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from appliance import loading
from appliance.loading import known_plugins, load

PLUGIN = '''
"""A demo."""
from appliance.hookspecs import hookimpl

@hookimpl
def settings():
    return []
'''


def wrong(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    _, problems = load([name], folder)
    ((problem_name, problem),) = problems
    assert problem_name == name
    return problem


def test_a_file_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "filedemo.py").write_text(PLUGIN)
    manager, problems = load(["filedemo"], tmp_path)
    assert problems == []
    assert manager.has_plugin("filedemo")
    assert "filedemo" in known_plugins(tmp_path)


def test_our_own_by_name() -> None:
    manager, problems = load(["mda"])
    assert problems == []
    assert manager.get_plugin("mda").__name__ == "plugins.mda"


def test_an_entry_point(monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "entrydemo_module.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("entrydemo", "entrydemo_module", loading.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [entry])
    manager, problems = load(["entrydemo"])
    assert problems == []
    assert manager.has_plugin("entrydemo")


def test_all_broken_ones_are_told_in_order(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import not_there_at_all")
    _, problems = load(["nowhere", "broken", "Bad-Name"], tmp_path)
    assert [name for name, _ in problems] == ["nowhere", "broken", "Bad-Name"]
    assert "there is no such plugin" in problems[0][1]
    assert "not_there_at_all" in problems[1][1]
    assert "no plugin name" in problems[2][1]


def test_two_of_one_name(tmp_path: Path) -> None:
    assert "two plugins of this name" in wrong(tmp_path, "mda", PLUGIN)


def test_named_twice(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(PLUGIN)
    _, problems = load(["twice", "twice"], tmp_path)
    assert problems == [("twice", "is named twice")]


def test_an_unknown_hook(tmp_path: Path) -> None:
    text = "from appliance.hookspecs import hookimpl\n@hookimpl\ndef smtp_recipent(session): ...\n"
    assert "implements 'smtp_recipent', which is no hook" in wrong(tmp_path, "unknownhook", text)


def test_the_wrong_colour(tmp_path: Path) -> None:
    text = "from appliance.hookspecs import hookimpl\n@hookimpl\ndef smtp_helo(session): ...\n"
    assert "smtp_helo must be async def" in wrong(tmp_path, "wrongcolour", text)


def test_an_argument_the_hook_does_not_have(tmp_path: Path) -> None:
    text = "from appliance.hookspecs import hookimpl\n@hookimpl\nasync def smtp_helo(sesion): ...\n"
    assert "sesion" in wrong(tmp_path, "wrongargument", text)


def test_a_wrapper(tmp_path: Path) -> None:
    text = "from appliance.hookspecs import hookimpl\n@hookimpl(wrapper=True)\ndef settings():\n    return (yield)\n"
    assert "is a wrapper" in wrong(tmp_path, "wrapping", text)


@pytest.mark.parametrize("name", ["../evil", "os.path;x", "a/b", ""])
def test_names_that_are_paths_are_refused(tmp_path: Path, name: str) -> None:
    _, problems = load([name], tmp_path)
    assert "no plugin name" in problems[0][1]


def test_a_module_in_the_place_of_a_hook_is_told(tmp_path: Path) -> None:
    text = "import json as commands\n" + PLUGIN
    assert "has a module named as the hook 'commands'" in wrong(tmp_path, "shadowed", text)
