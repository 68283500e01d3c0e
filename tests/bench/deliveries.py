"""Deliveries by SMTP at a steady pace, round the accounts: a process of its own. Prints when each was acknowledged.

JSON: for each account, the monotonic times of the 250s, in the order of its messages.
"""

from __future__ import annotations

import argparse
import json
import smtplib
import threading
import time

from tests.bench.bodies import Bodies

SESSIONS = 10
SIZE = 4096


def _deliver(host: str, port: int, users: list[str], pace_s: float, until: float, told: dict[str, list[float]]) -> None:
    """One message each `pace_s`, to one of the users after the other; those belong to this thread alone."""
    bodies = Bodies(SIZE, seed=time.time_ns())
    with smtplib.SMTP(host, port, timeout=60) as client:
        client.ehlo("generator.test")
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
    arguments = parser.parse_args()
    users = arguments.users.split(",")
    told: dict[str, list[float]] = {user: [] for user in users}
    until = time.monotonic() + arguments.seconds
    pace_s = SESSIONS / arguments.per_second
    threads = [
        threading.Thread(
            target=_deliver, args=(arguments.host, arguments.port, users[n::SESSIONS], pace_s, until, told)
        )
        for n in range(SESSIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
