"""Programs of Debian that nobody here wrote: found, or missed in words; run with a deadline in a home of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "swaks": "swaks libnet-ssleay-perl libauthen-sasl-perl",
    "curl": "curl",
    "mutt": "mutt",
    "mbsync": "isync",
    "fetchmail": "fetchmail",
    "getmail": "getmail6",
    "Xvfb": "xvfb",
    "import": "imagemagick",
    "node": "nodejs",
    "msmtp": "msmtp",
    "make": "make",
    "script": "bsdutils",
    "postfix": "postfix",
    "postqueue": "postfix",
    "sendmail": "postfix",
    "saslpasswd2": "sasl2-bin libsasl2-modules",
}
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE_S = 90.0


class MissingProgramError(Exception):
    """A program that a test drives is not on this machine."""


class ProgramError(AssertionError):
    """A program ended otherwise than the test expects."""


@dataclass(frozen=True)
class Done:
    """How a program ended and what it said."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Everything it said, for reading."""
        return (self.out + self.err).decode("utf-8", "replace")


def find(program: str) -> str:
    """The program's path. Raises MissingProgramError with the line to type."""
    if path := shutil.which(program, path=PATHS):
        return path
    package = PACKAGES.get(program, program)
    raise MissingProgramError(f"{program} is not installed. Type: apt-get install -y --no-install-recommends {package}")


def run(
    program: str,
    *arguments: str | Path,
    home: Path,
    stdin: bytes = b"",
    seconds: float = DEADLINE_S,
    statuses: Sequence[int] = (0,),
    environment: dict[str, str] | None = None,
) -> Done:
    """Run a program with `home` as its HOME and working folder. Raises ProgramError for any other exit status."""
    __tracebackhide__ = True  # a failed test shows what the program said, not this function
    command = [find(program), *map(str, arguments)]
    home.mkdir(parents=True, exist_ok=True)
    clean = {"HOME": str(home), "PATH": PATHS, "LANG": "C.UTF-8", "TERM": "dumb", "TZ": "UTC", **(environment or {})}
    try:
        ended = subprocess.run(
            command, input=stdin, capture_output=True, timeout=seconds, cwd=home, env=clean, check=False
        )
    except subprocess.TimeoutExpired as error:
        said = ((error.stdout or b"") + (error.stderr or b"")).decode("utf-8", "replace")
        raise ProgramError(f"{program} did not end within {seconds:g} s:\n{said}") from None
    done = Done(ended.returncode, ended.stdout, ended.stderr)
    if done.status not in statuses:
        raise ProgramError(f"{' '.join(command)}\nended with {done.status}:\n{done.text}")
    return done


def write_private(path: Path, text: str) -> Path:
    """Write a file with a password in it: these programs refuse one that others can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.chmod(path, 0o600)
    return path
