"""Debian's Rspamd as a milter that scans by itself, with its own rules and nothing that needs a network."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

PORT = 4632
START_S = 240  # it compiles its expressions at the first start
USER = "_rspamd"

_CONFIG = f"""
.include "$CONFDIR/common.conf"
options {{
    pidfile = "$RUNDIR/rspamd.pid";
    .include "$CONFDIR/options.inc"
    local_addrs = [];
    dns {{ timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "file"; filename = "$LOGDIR/rspamd.log"; level = "warning"; }}
worker "rspamd_proxy" {{
    bind_socket = "127.0.0.1:{PORT}";
    milter = yes;
    timeout = 60s;
    count = 2;
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Run it from `folder`, and wait until it can be asked. Raises SystemExit if it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rspamd.conf").write_text(_CONFIG)
    own = folder / "own"
    for name in ("local.d", "override.d"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "override.d" / "fuzzy_check.conf").write_text("enabled = false;\n")
    command = ["rspamd", "-f", "-u", USER, "-g", USER, "-c", str(folder / "rspamd.conf"), f"--var=LOCAL_CONFDIR={own}"]
    for name in ("DBDIR", "RUNDIR", "LOGDIR"):
        place = folder / name.lower()
        place.mkdir(exist_ok=True)
        shutil.chown(place, USER, USER)
        command.append(f"--var={name}={place}")
    with (folder / "out.txt").open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 1):
            return process
        time.sleep(0.2)
    process.kill()
    raise SystemExit(f"Rspamd does not answer on port {PORT}; see {folder}")
