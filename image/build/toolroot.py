"""Programs of the tool root (amd64, Debian 13), run from any Linux by the tool root's own loader: no chroot needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from image.build.command import Listener, run

_LOADER = "usr/lib64/ld-linux-x86-64.so.2"
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd")
_PROGRAMS = ("usr/bin", "usr/sbin")


class ToolRoot:
    """The folder where the tool root was unpacked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def program(self, name: str) -> Path:
        """Where a program is. Raises FileNotFoundError."""
        for place in _PROGRAMS:
            path = self.folder / place / name
            if path.exists() or path.is_symlink():
                return path
        raise FileNotFoundError(f"the tool root has no program {name!r}")

    def command(self, name: str, *arguments: str | os.PathLike[str]) -> list[str]:
        """The words that start a program of the tool root."""
        path = self.program(name)
        libraries = ":".join(str(self.folder / place) for place in _LIBRARIES)
        loader = [str(self.folder / _LOADER), "--library-path", libraries, "--argv0", name]
        # mtools and others are links to one program that looks at its name.
        return [*loader, str(path), *(os.fspath(argument) for argument in arguments)]

    def run(
        self,
        name: str,
        *arguments: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        listen: Listener | None = None,
    ) -> str:
        """Run a program of the tool root to its end; see command.run."""
        return run(self.command(name, *arguments), env=env, cwd=cwd, listen=listen)

    def pipe(self, target: IO[bytes], name: str, *arguments: str | os.PathLike[str]) -> None:
        """Run a program whose standard output goes to `target`; see command.run for what it raises."""
        run(self.command(name, *arguments), output=target)

    def python(self, *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> str:
        """Run the tool root's python3, the same minor version as the image's."""
        home = {"PYTHONHOME": str(self.folder / "usr"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        return self.run("python3", "-s", *arguments, env={**home, **(env or {})})
