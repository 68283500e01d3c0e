"""Rows about many clients at once, which our side alone has: what they cost in memory, and how soon they hear."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.bench import generators
from tests.bench.lags import notice_p99
from tests.bench.sides import PASSWORD, USERS, Palomar

generators.require()

import common  # noqa: E402

CONNECTIONS = 2000
PER_SECOND = 200
DELIVERING_S = 10.0
AFTER_S = 3.0  # in which the last ones hear
LEAST = 0.95  # of the deliveries that are asked for
ACTIVE = 200  # SMTP connections that deliver while CONNECTIONS others are idle
FETCHERS = 20
LARGE = 50_000_000
LINE = b"x" * 76 + b"\r\n"


@contextlib.contextmanager
def idling(port: int, *, tls: bool) -> Iterator[subprocess.Popen[str]]:
    """CONNECTIONS of them, all in IDLE; the process obeys as `idlers.py` says."""
    command = [
        sys.executable, "-m", "tests.bench.idlers", "--port", str(port), "--users", ",".join(USERS),
        "--password", PASSWORD, "--connections", str(CONNECTIONS), *(["--tls"] if tls else []),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=generators.ROOT)
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("READY"):
            raise SystemExit(f"there are not {CONNECTIONS} idle connections")
        yield process
    finally:
        process.kill()
        process.wait()


def idle(side: Palomar) -> dict[str, float]:
    """KB of memory for each connection, in clear and over TLS, and the 99th percentile of the notices, in ms."""
    figures = {}
    for name, port, tls in (("plain", side.imap, False), ("tls", side.imaps, True)):
        before = common.tree_pss(side.roots())[0]
        with idling(port, tls=tls) as process:
            time.sleep(2)
            figures[name] = (common.tree_pss(side.roots())[0] - before) * 1.024 / CONNECTIONS
            if not tls:
                figures["p99"] = _notice_p99(side, process)
        side.stop()
        side.start()
    return figures


def _notice_p99(side: Palomar, process: subprocess.Popen[str]) -> float:
    """Milliseconds from a 250 to the EXISTS at a connection that idles in that mailbox, of 100 all but one."""
    assert process.stdin is not None
    assert process.stdout is not None
    command = [
        sys.executable, "-m", "tests.bench.deliveries", "--port", str(side.smtp), "--users", ",".join(USERS),
        "--per-second", str(PER_SECOND), "--seconds", str(DELIVERING_S),
    ]  # fmt: skip
    generator = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=generators.ROOT)
    assert generator.stdout is not None
    if not generator.stdout.readline().startswith("READY"):
        raise SystemExit("the deliveries do not begin")
    process.stdin.write(f"watch {DELIVERING_S + AFTER_S}\n")
    process.stdin.flush()
    told: dict[str, list[float]] = json.loads(generator.communicate("\n", timeout=120)[0])
    heard: dict[str, list[list[tuple[int, float]]]] = json.loads(process.stdout.readline())
    late = max(0, int(PER_SECOND * DELIVERING_S * LEAST) - sum(map(len, told.values())))
    missing = late * CONNECTIONS // len(USERS)
    return 1000 * notice_p99(told, heard, missing=missing, worst=DELIVERING_S + AFTER_S)


@contextlib.contextmanager
def calling(port: int, *, tls: bool) -> Iterator[None]:
    """CONNECTIONS of SMTP that have said EHLO."""
    command = [
        sys.executable, "-m", "tests.bench.callers", "--port", str(port), "--connections", str(CONNECTIONS),
        *(["--tls"] if tls else []),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=generators.ROOT)
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("READY"):
            raise SystemExit(f"there are not {CONNECTIONS} connections")
        yield
    finally:
        process.kill()
        process.wait()


def smtp(side: Palomar, *, tls: bool) -> float:
    """KB of memory for each of CONNECTIONS idle and ACTIVE delivering SMTP connections, at the worst moment."""
    _deliver(side, sessions=10, tls=tls)  # what any delivery costs once is no connection's
    before = common.tree_pss(side.roots())[0]
    with calling(side.smtp, tls=tls), common.PeakPss(side.roots()) as peak:
        _deliver(side, sessions=ACTIVE, tls=tls)
    return float((peak.peak - before) * 1.024 / (CONNECTIONS + ACTIVE))


def _deliver(side: Palomar, *, sessions: int, tls: bool) -> None:
    """PER_SECOND messages for DELIVERING_S over so many connections."""
    command = [
        sys.executable, "-m", "tests.bench.deliveries", "--port", str(side.smtp), "--users", ",".join(USERS),
        "--per-second", str(PER_SECOND), "--seconds", str(DELIVERING_S), "--sessions", str(sessions),
        *(["--tls"] if tls else []),
    ]  # fmt: skip
    subprocess.run(command, input="\n", stdout=subprocess.PIPE, text=True, check=True, cwd=generators.ROOT)


def fetch_large(side: Palomar) -> float:
    """MB above rest at the worst moment, while FETCHERS clients take a message of 50 MB each."""
    imapc = __import__("imapc")
    client = imapc.Imap("127.0.0.1", side.imap, USERS[0], PASSWORD)
    message = b"Subject: large\r\n\r\n" + LINE * (LARGE // len(LINE))
    client.wait(client.append("INBOX", message, nonsync=False), keep=False)
    client.close()
    side.stop()  # what taking it in has cost is no part of rest
    side.start()
    clients = [imapc.Imap("127.0.0.1", side.imap, USERS[0], PASSWORD) for _ in range(FETCHERS)]
    for client in clients:
        client.cmd("SELECT INBOX")
    time.sleep(2)
    rest = common.tree_pss(side.roots())[0]
    with common.PeakPss(side.roots(), 0.05) as peak:
        readers = [threading.Thread(target=_fetch, args=(client,)) for client in clients]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    for client in clients:
        client.close()
    return float((peak.peak - rest) * 1024 / 1e6)


def _fetch(client: Any) -> None:
    if client.cmd("FETCH 1 BODY.PEEK[]", False) < LARGE * 0.99:
        raise SystemExit("the large message did not come whole")
