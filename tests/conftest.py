"""What all tests share: those that need root are left out, and counted, where it cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

import pytest

_LEFT_OUT = pytest.StashKey[list[str]]()


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


def _can_run(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("root")
    if mark is None:
        return True
    # Daemons that change to users of their own need more than the one user that a plain namespace has.
    return os.geteuid() == 0 if mark.kwargs.get("users") else can_unshare()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not _can_run(item)]
    if left_out:
        config.stash[_LEFT_OUT] = [item.nodeid for item in left_out]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, []):
        files = ", ".join(sorted({nodeid.partition("::")[0] for nodeid in left_out}))
        terminalreporter.write_line(f"{len(left_out)} tests need root and were left out: {files}", yellow=True)
