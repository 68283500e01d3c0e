"""`palomar account add` for several names, by one process: CONFIG NAME…, the password on standard input."""

from __future__ import annotations

import io
import os
import sys

from appliance.cli import main

if __name__ == "__main__":
    os.umask(0o077)
    config, *names = sys.argv[1:]
    password = sys.stdin.buffer.readline()
    for name in names:
        sys.stdin = io.TextIOWrapper(io.BytesIO(password))
        if code := main(["--config", config, "account", "add", name, "--password-stdin"]):
            sys.exit(code)
