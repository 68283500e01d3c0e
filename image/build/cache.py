"""Steps and their outputs, kept by the content of their inputs.

A step writes into an empty folder. Its key is a digest of what it says it depends on: the files it reads, its own
source, its settings, and the outputs of the steps before it. An output is known by its fingerprint: by default the
key it was made under; a step that says so is known by the content it made, so that a rebuild with the same result
ends there (a changed comment in code that is not in the image makes no new image).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

KEPT_PER_STEP = 2
DONE = "done.json"

Work = TypeVar("Work")
Fingerprint = Callable[[Path], str]


@dataclass(frozen=True, kw_only=True)
class Step(Generic[Work]):
    """One step of the build."""

    name: str
    title: str
    run: Callable[[Work, Path], None]
    after: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    """Files and folders it reads, relative to the checkout; one that is missing counts as empty."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else changes its output: command lines, choices."""
    own_source: bool = True
    """Whether the text of the module with `run` counts. Off where `settings` tells it all and the step is dear."""
    fingerprint: Fingerprint | None = None


class Cache:
    """Outputs of steps under one folder: `NAME/KEY/`, and a link `latest/NAME`."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder = folder
        self._checkout = checkout

    def key(self, step: Step[Any], before: Mapping[str, str]) -> str:
        """The key of `step`, `before` being the fingerprints of the steps it comes after."""
        digest = hashlib.sha256()
        parts = [step.name, *(f"{name}={value}" for name, value in sorted(step.settings.items()))]
        parts += [f"{name}={before[name]}" for name in step.after]
        parts += [f"{name}={files_digest(self._checkout / name)}" for name in step.inputs]
        if step.own_source:
            source = sys.modules[step.run.__module__].__file__
            assert source is not None
            parts.append(files_digest(Path(source)))
        for part in parts:
            digest.update(part.encode() + b"\0")
        return digest.hexdigest()[:24]

    def find(self, name: str, key: str) -> tuple[Path, str] | None:
        """The kept output and its fingerprint, or None."""
        place = self.folder / name / key
        try:
            done = json.loads((place / DONE).read_text())
        except FileNotFoundError:
            return None
        os.utime(place)  # so that what is in use is not swept
        self._point(name, place)
        return place, done["fingerprint"]

    def make(self, step: Step[Work], key: str, work: Work) -> tuple[Path, str]:
        """Run the step, keep its output, forget old ones. What it raises comes through; nothing is kept then."""
        shelf = self.folder / step.name
        draft = shelf / f"{key}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        begun = time.monotonic()
        step.run(work, draft)
        fingerprint = step.fingerprint(draft) if step.fingerprint else key
        done = {"step": step.name, "fingerprint": fingerprint, "seconds": round(time.monotonic() - begun, 1)}
        (draft / DONE).write_text(json.dumps(done))
        place = shelf / key
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        self._point(step.name, place)
        self._sweep(shelf)
        return place, fingerprint

    @contextlib.contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold this folder against other builds; calls `waiting` once if another one has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _point(self, name: str, place: Path) -> None:
        latest = self.folder / "latest"
        latest.mkdir(exist_ok=True)
        fresh = latest / f"{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(place, latest))
        fresh.replace(latest / name)

    def _sweep(self, shelf: Path) -> None:
        places = sorted((place for place in shelf.iterdir()), key=lambda place: place.stat().st_mtime, reverse=True)
        for place in places[KEPT_PER_STEP:]:
            shutil.rmtree(place)


def files_digest(path: Path) -> str:
    """Digest of a file, or of a folder's whole content: names, kinds, permissions, bytes, but no times or owners."""
    digest = hashlib.sha256()
    for entry in [path, *sorted(_below(path))]:
        try:
            about = entry.lstat()
        except FileNotFoundError:
            continue
        name = os.fspath(entry.relative_to(path))
        digest.update(f"{name}\0{about.st_mode:o}\0".encode())
        if stat.S_ISLNK(about.st_mode):
            digest.update(os.readlink(entry).encode())
        elif stat.S_ISREG(about.st_mode):
            with entry.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def content_fingerprint(*names: str) -> Fingerprint:
    """A fingerprint over some of the files and folders of an output."""

    def fingerprint(output: Path) -> str:
        return hashlib.sha256("".join(files_digest(output / name) for name in names).encode()).hexdigest()[:24]

    return fingerprint


def _below(path: Path) -> Iterable[Path]:
    if path.is_symlink() or not path.is_dir():
        return
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in [*folders, *files]:
            yield Path(folder, name)
