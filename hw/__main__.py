"""The command `palomar-hw`: the board and network process; `palomar-hw led PATTERN` and `palomar-hw log` beside it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path


def main() -> None:
    """Run until SIGTERM. SIGHUP reads the configuration anew."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["led"]:
        from hw.leds import main as show

        sys.exit(show(arguments[1:]))
    if arguments[:1] == ["log"]:
        from hw.eventlog import main as print_log

        sys.exit(print_log(arguments[1:]))
    parser = argparse.ArgumentParser(prog="palomar-hw", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run",), default="run", help="run until SIGTERM")
    parser.add_argument(
        "--config", type=Path, default=Path(os.environ.get("PALOMAR_CONFIG", "/data/config/palomar.toml"))
    )
    parser.add_argument("--data", type=Path, default=Path("/data"), help="what lasts: leases, the time, the event log")
    parser.add_argument("--run", type=Path, default=Path("/run/palomar-hw"), help="socket, state.json, resolv.conf")
    given = parser.parse_args(arguments)

    from appliance.log import LogConfig, configure
    from hw.process import Process

    configure(LogConfig())
    logging.getLogger("pyroute2").setLevel(logging.WARNING)
    # It warns at each packet that an unplugged cable swallows.
    logging.getLogger("zeroconf").setLevel(logging.ERROR)

    async def run() -> int:
        return await Process(given.config, run_folder=given.run, data=given.data).run()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        sys.exit(runner.run(run()))


if __name__ == "__main__":
    main()
