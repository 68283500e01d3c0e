"""Deliveries by SMTP at a steady pace, round the accounts: a process of its own.

It prints `READY`, begins at a line on stdin, and prints as JSON, for each account, the monotonic times of the 250s in
the order of its messages. Of more sessions than accounts, several deliver to the same one.
"""

from __future__ import annotations

import argparse
import json
import smtplib
import sys
import threading
import time

from tests.bench.bodies import Bodies
from tests.bench.callers import call, context

SESSIONS = 10
SIZE = 4096


def _deliver(
    client: smtplib.SMTP, bodies: Bodies, users: list[str], pace_s: float, until: float, told: dict[str, list[float]]
) -> None:
    """One message each `pace_s`, to one of the users after the other."""
    at, number = time.monotonic(), 0
    while at < until:
        time.sleep(max(0.0, at - time.monotonic()))
        user = users[number % len(users)]
        client.mail("sender@elsewhere.test")
        client.rcpt(user)
        code, words = client.data(bodies.make(number))
        if code != 250:
            raise SystemExit(f"{user}: {code} {words!r}")
        told[user].append(time.monotonic())
        number += 1
        at += pace_s


def main() -> None:
    """Deliver for so many seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--users", required=True, help="separated by commas")
    parser.add_argument("--per-second", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--tls", action="store_true")
    arguments = parser.parse_args()
    users = arguments.users.split(",")
    told: dict[str, list[float]] = {user: [] for user in users}
    pace_s = arguments.sessions / arguments.per_second
    bodies = Bodies(SIZE, seed=time.time_ns())
    tls = context() if arguments.tls else None
    clients = [call(arguments.host, arguments.port, tls) for _ in range(arguments.sessions)]
    print("READY", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + arguments.seconds
    shares = [users[number % len(users) :: arguments.sessions] for number in range(arguments.sessions)]
    threads = [
        threading.Thread(target=_deliver, args=(client, bodies, share, pace_s, until, told))
        for client, share in zip(clients, shares, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
