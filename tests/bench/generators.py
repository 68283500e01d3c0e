"""The load generators, which live outside this repository and speak to any host and port on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("PALOMAR_GENERATORS", ROOT.parent / "shared" / "bench"))
LIMIT_S = 400  # no single load runs longer

Result = dict[str, Any]


def require() -> None:
    """Make the generators importable; end with words where they are not."""
    if not (FOLDER / "smtp_load.py").exists():
        raise SystemExit(
            f"make bench: the load generators are not in {FOLDER}.\n"
            "They are kept apart from this repository. Set PALOMAR_GENERATORS to the folder that has smtp_load.py."
        )
    sys.path.insert(0, str(FOLDER))


def run(name: str, *arguments: object) -> Result:
    """Run one generator (`smtp`, `imap`, `pop3`) as a process of its own and return what it measured."""
    script = (
        [sys.executable, "-m", "tests.bench.smtp_varied"]
        if name == "smtp"
        else [sys.executable, f"{FOLDER}/{name}_load.py"]
    )
    command = [*script, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT, check=False)
    try:
        result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-2000:]}") from None
    if result.get("errors"):
        raise SystemExit(f"{' '.join(command)}: {result['errors']}")
    return result
