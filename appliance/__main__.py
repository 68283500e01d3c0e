"""`palomar` and `python -m appliance`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from appliance.cli import main as run

    os.umask(0o077)  # what we write is somebody's mail, or leads to it
    sys.exit(run())


if __name__ == "__main__":
    main()
