"""Run one command of a step: its last lines are kept, so that a failure can be told in full."""

from __future__ import annotations

import collections
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

LAST_LINES = 15

Listener = Callable[[str], None]


class BuildError(Exception):
    """A step cannot be done. The text says what failed; `remedy`, if any, what to do about it."""

    def __init__(self, text: str, *, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


class CommandError(BuildError):
    """A command ended with an error: the command as typed and the last lines of what it said."""

    def __init__(self, argv: Sequence[str], status: int, lines: Sequence[str], *, remedy: str = "") -> None:
        said = "".join(f"\n    | {line}" for line in lines)
        super().__init__(f"ended with status {status}: {shlex.join(argv)}{said}", remedy=remedy)
        self.status = status


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    listen: Listener | None = None,
    output: IO[bytes] | None = None,
    remedy: str = "",
) -> str:
    """Run a command to its end and return what it wrote (standard output and error together).

    With `output`, standard output goes there instead. `env` is added to this process's environment; `listen` gets
    every line as it comes.
    Raises CommandError for a status other than 0, BuildError if there is no such program.
    """
    words = [os.fspath(word) for word in argv]
    whole = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(env or {})}
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=whole,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.PIPE if output else subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise BuildError(f"no program {words[0]!r}", remedy=remedy or "as root, run tools/setup image") from error
    lines: list[str] = []
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    with process:
        said = process.stderr if output else process.stdout
        assert said is not None
        for line in said:
            lines.append(line)
            if text := line.rstrip():
                last.append(text)
                if listen:
                    listen(text)
    if process.returncode:
        raise CommandError(words, process.returncode, list(last), remedy=remedy)
    return "".join(lines)
