"""A secret of this installation, from which made-up salts are derived."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

SECRET_OCTETS = 32
_FILE = "auth.secret"


def installation_secret(folder: Path) -> bytes:
    """Read the secret from the data folder, or make it there (mode 0600) on the first start. Raises OSError."""
    path = folder / _FILE
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) == SECRET_OCTETS:
        return found
    made = secrets.token_bytes(SECRET_OCTETS)
    draft = folder / f"{_FILE}.new"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return made
