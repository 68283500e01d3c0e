"""Take out of a tree what the image does not need, by the list in image/debian/excludes."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

EXCLUDES = "image/debian/excludes"


@dataclass(frozen=True)
class Rules:
    """Path patterns; the last one that matches decides."""

    patterns: tuple[tuple[bool, re.Pattern[str]], ...]

    @classmethod
    def parse(cls, text: str) -> Rules:
        """Read one pattern a line: shell-like, `*` crosses `/`, a leading `!` keeps, `#` begins a comment line."""
        patterns = []
        for line in text.splitlines():
            pattern = line.strip()
            if pattern and not pattern.startswith("#"):
                keeps = pattern.startswith("!")
                patterns.append((not keeps, re.compile(fnmatch.translate(pattern.lstrip("!")))))
        return cls(tuple(patterns))

    def excludes(self, path: str) -> bool:
        """Whether the absolute path `path` is left out."""
        for drops, pattern in reversed(self.patterns):
            if pattern.match(path):
                return drops
        return False


def prune(tree: Path, rules: Rules) -> int:
    """Delete from `tree` what `rules` exclude; a folder goes only if all below it does. Returns the bytes freed."""
    freed = 0
    for folder, folders, files in os.walk(tree, topdown=False):
        below = "/" + os.path.relpath(folder, tree) if folder != os.fspath(tree) else ""
        for name in files + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            path = Path(folder, name)
            if rules.excludes(f"{below}/{name}"):
                freed += path.lstat().st_size
                path.unlink()
        if below and rules.excludes(below) and not os.listdir(folder):
            os.rmdir(folder)
    return freed


def keep_copyrights(tree: Path, target: Path) -> None:
    """Copy `/usr/share/doc/PACKAGE/copyright` to `target/PACKAGE`, and the licences they point at."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted((tree / "usr/share/doc").glob("*/copyright")):
        if path.exists():
            shutil.copyfile(path, target / path.parent.name)
    licences = tree / "usr/share/common-licenses"
    if licences.is_dir():
        shutil.copytree(licences, target / "common-licenses", symlinks=True, dirs_exist_ok=True)
