"""File-system operations that are done when they return: written, synced, and in place as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

DRAFT = ".new"  # behind the name of a file that is being written


class Disk:
    """Changes below /data. Every single operation ends in `done`, where tests let the power go.

    BootPartition tells its operations there too.
    """

    def done(self, operation: str) -> None:
        """Told after each operation that the disk may keep or lose as a unit."""

    def write(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> bool:
        """Give the file this content, mode and owner; no operation, and False, where it has the content already."""
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                self._settle(path, mode, owner)
                return False
        draft = path.with_name(path.name + DRAFT)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            self.done(f"create {draft.name}")
            with os.fdopen(descriptor, "wb", buffering=0, closefd=False) as file:
                file.write(data)
            self.done(f"write {draft.name}")
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.done(f"sync {draft.name}")
        os.replace(draft, path)
        self.sync(path.parent)
        self.done(f"rename {path.name}")
        return True

    def folder(self, path: Path, mode: int, owner: tuple[int, int] | None = None) -> None:
        """Make the folder, if it is not there, with this mode and owner."""
        if not path.is_dir():
            path.mkdir(parents=True)
            self.done(f"make {path.name}")
            self._settle(path, mode, owner)
            self.sync(path.parent)
        self._settle(path, mode, owner)

    def link(self, path: Path, target: str) -> None:
        """Make `path` a symbolic link to `target`, in place of a link or file of that name."""
        if path.is_symlink() and os.readlink(path) == target:
            return
        draft = path.with_name(path.name + DRAFT)
        draft.unlink(missing_ok=True)
        draft.symlink_to(target)
        self.done(f"link {draft.name}")
        os.replace(draft, path)
        self.sync(path.parent)
        self.done(f"rename {path.name}")

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        if path.exists() or path.is_symlink():
            path.unlink()
            self.sync(path.parent)
            self.done(f"remove {path.name}")

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all that is in it. It is out of the way first, so that no half of it is ever seen."""
        gone = path.with_name(f".gone-{path.name}")
        for one in (gone, path):
            if not one.is_dir() or one.is_symlink():
                continue
            if one is path:
                os.replace(path, gone)
                self.sync(path.parent)
                self.done(f"set {path.name} aside")
            shutil.rmtree(gone)
            self.sync(path.parent)
            self.done(f"remove {gone.name}")

    def sync(self, folder: Path) -> None:
        """Make names in a folder last."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _settle(self, path: Path, mode: int, owner: tuple[int, int] | None) -> None:
        """Correct mode and owner where they are not as they should be. Nothing is written otherwise."""
        found = os.stat(path, follow_symlinks=False)
        if owner is not None and (found.st_uid, found.st_gid) != owner:
            os.chown(path, *owner, follow_symlinks=False)
        if found.st_mode & 0o7777 != mode:
            os.chmod(path, mode)
