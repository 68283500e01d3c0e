"""What all tests share: those that need root are left out, and counted, where it cannot be had; so are, unless they
are asked for, the slow ones (`pytest -m slow`) and those that start the image (`make test-image`)."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A time that a test may take says something of the machine and its load, not of the code.
hypothesis.settings.register_profile("palomar", deadline=None)
hypothesis.settings.load_profile("palomar")

_LEFT_OUT = pytest.StashKey[dict[str, list[str]]]()
_SENT = "palomar_left_out"


@cache
def can_unshare() -> bool:
    """Whether this user may be root in a namespace of their own, where mounts are possible."""
    if os.geteuid() == 0:
        return True
    program = shutil.which("unshare")
    if program is None:
        return False
    done = subprocess.run([program, "--map-root-user", "--mount", "true"], capture_output=True, timeout=20, check=False)
    return done.returncode == 0


def _reason(item: pytest.Item, markers: str) -> str:
    """Why a test cannot run now; empty if it can."""
    if item.get_closest_marker("slow") is not None and "slow" not in markers:
        return "are slow (run them by: pytest -m slow)"
    if item.get_closest_marker("image") is not None and "image" not in markers:
        return "start the image (run them by: make test-image)"
    wanted = [name for mark in item.iter_markers("programs") for name in mark.args]
    if missing := [name for name in wanted if shutil.which(name) is None and not Path(name).is_dir()]:
        return f"need {', '.join(missing)} (as root: tools/setup test)"
    root = item.get_closest_marker("root")
    if root is None:
        return ""
    # Daemons that change to users of their own need more than the one user that a plain namespace has.
    possible = os.geteuid() == 0 if root.kwargs.get("users") else can_unshare()
    return "" if possible else "need root"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out: dict[str, list[str]] = {}
    reasons = {item: _reason(item, config.getoption("markexpr")) for item in items}
    for item, reason in reasons.items():
        if reason:
            left_out.setdefault(reason, []).append(item.nodeid)
    if left_out:
        config.stash[_LEFT_OUT] = left_out
        if (output := getattr(config, "workeroutput", None)) is not None:
            output[_SENT] = left_out  # one of several processes: the first of them reports for all
        config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
        items[:] = [item for item in items if not reasons[item]]


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any, error: object) -> None:
    """A process that ran tests has ended. All of them have left out the same ones."""
    if left_out := getattr(node, "workeroutput", {}).get(_SENT):
        node.config.stash[_LEFT_OUT] = left_out


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason, tests in sorted(config.stash.get(_LEFT_OUT, {}).items()):
        files = ", ".join(sorted({test.partition("::")[0] for test in tests}))
        terminalreporter.write_line(f"{len(tests)} tests {reason} and were left out: {files}", yellow=True)
