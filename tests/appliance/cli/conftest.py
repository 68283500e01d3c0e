"""A command line in this process: its exit code, what it prints, and a configuration of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.cli import main

CONFIG = """\
hostname = "mail.palomar.test"
domains = ["palomar.test"]
plugins = ["mda"]

[store]
reserve_mib = 0
"""
PASSWORD = "correct horse"


@dataclass(frozen=True)
class Printed:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs `palomar` with a configuration file."""

    config: Path

    def __call__(self, *arguments: str | Path, input: str = "") -> Printed:  # noqa: A002 - click's word
        with CliRunner().isolation(input=input) as (out, err, _):
            code = main(["--config", str(self.config), *map(str, arguments)])
            return Printed(code, out.getvalue().decode(), err.getvalue().decode())

    def good(self, *arguments: str | Path, input: str = "") -> Printed:  # noqa: A002
        """As a call, and it must have worked."""
        done = self(*arguments, input=input)
        assert done.code == 0, done.err
        return done


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """With the accounts of nobody yet, and no appliance running."""
    (tmp_path / "palomar.toml").write_text(CONFIG)
    before = dict(os.environ)
    os.environ.pop("PALOMAR_CONFIG", None)
    yield Shell(tmp_path / "palomar.toml")
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def office(shell: Shell) -> Shell:
    """With the accounts ana and luis."""
    for name in ("ana@palomar.test", "luis@palomar.test"):
        shell.good("account", "add", name, "--password-stdin", input=f"{PASSWORD}\n")
    return shell
