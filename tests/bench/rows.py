"""The rows of the table: how each is measured on one side, and which ratio is asked for."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.bench import generators
from tests.bench.sides import USERS

generators.require()

import common  # noqa: E402

SIZES = {"4k": 4096, "64k": 65536, "1m": 1 << 20}
SINK = "/usr/sbin/smtp-sink"
SINK_S = 240  # no relay run takes longer
STARTTLS = "--starttls"  # of `smtp_varied`


@dataclass(frozen=True)
class Bar:
    """What is asked of a row: `of` says whether of the ratio to the peer or of our own figure."""

    limit: float
    of: Literal["ratio", "palomar"] = "ratio"


HIGHER = {"messages/s"}  # units where more is better; in all others less is

BARS: dict[str, Bar] = {
    "inbound-4k-10-keep": Bar(6),
    "inbound-4k-1-keep": Bar(3),
    "inbound-64k-10-keep": Bar(4),
    "inbound-1m-10-keep": Bar(1.1),
    "inbound-tls-4k-10-keep": Bar(3),
    "inbound-tls-4k-10-single": Bar(3),
    "filters-4k-10": Bar(2),
    "filters-4k-10-rspamd": Bar(4),
    "filters-wear-4k-10": Bar(1.3),
    "relay-4k-10": Bar(3),
    "relay-64k-10": Bar(3),
    "drain-live": Bar(3),
    "queue-200k-start": Bar(3, "palomar"),
    "queue-200k-memory": Bar(60, "palomar"),
    "queue-200k-answer": Bar(1, "palomar"),
    "smtp-2200-plain": Bar(25, "palomar"),
    "smtp-2200-tls": Bar(70, "palomar"),
    "slowsync-4k-1": Bar(1.8),
    "slowsync-4k-50": Bar(8),
    "login": Bar(1),
    "imap-fetch_all_flags_uid_first": Bar(1.5),
    "imap-cold_envelope_bodystructure": Bar(0.3),
    "imap-fetch_all_envelope_bodystructure": Bar(0.5),
    "imap-search_body": Bar(0.05),
    "imap-search_text": Bar(0.05),
    "imap-search_text_absent": Bar(0.05),
    "imap-sort_reverse_date": Bar(0.5),
    "imap-sort_subject": Bar(0.5),
    "imap-thread_references": Bar(0.5),
    "imap-thread_orderedsubject": Bar(0.5),
    "imap-store_all_plus_flagged": Bar(0.5),
    "imap-store_all_minus_silent": Bar(0.5),
    "imap-copy_1000": Bar(0.3),
    "imap-move_1000": Bar(0.3),
    "imap-append_1000_serial": Bar(0.5),
    "imap-expunge_5000": Bar(0.5),
    "imap-qresync_100_changes": Bar(0.5),
    "pop3-login_retr_1000": Bar(0.7),
    "idle-2000-plain": Bar(20, "palomar"),
    "idle-2000-tls": Bar(60, "palomar"),
    "idle-2000-p99": Bar(100, "palomar"),
    "fetch-50m-20": Bar(40, "palomar"),
    "rest-pss": Bar(70, "palomar"),
    "idle-pss": Bar(30, "palomar"),
    "wear-4k-10": Bar(4, "palomar"),
    "wear-64k-10": Bar(1.6, "palomar"),
    "cpu-4k-10": Bar(0.6, "palomar"),
}


def bar_of(row: str) -> Bar | None:
    """The bar of a row: its own, or that of its kind (no IMAP or POP3 row slower than the peer's)."""
    return BARS.get(row) or (Bar(1) if row.startswith(("imap-", "pop3-")) else None)


def inbound(
    side: Any, size: str, sessions: int, keep: bool, user: int, messages: int, *, tls: bool = False
) -> dict[str, float]:
    """Durable deliveries: the clock stops when the last message shows in the mailbox."""
    cpu = common.tree_cpu(side.roots())
    result = generators.run(
        "smtp", "--port", side.smtp, "--sessions", sessions, "--size", SIZES[size], "--messages", messages,
        "--per-session", 0 if keep else 1, "--rcpt", USERS[user], "--wait", "imap", "--imap-port", side.imap,
        *([STARTTLS] if tls else []),
    )  # fmt: skip
    if result["delivered"] != messages:
        raise SystemExit(f"{side.name}: {result['delivered']} of {messages} messages arrived")
    cpu_ms = 1000 * (common.tree_cpu(side.roots()) - cpu) / messages
    return {"per_s": result["delivered_per_s"], "cpu_ms": cpu_ms, "p99_ms": result["latency_ms"]["p99"]}


def relay(side: Any, size: str, sessions: int, messages: int) -> float:
    """Messages a second from our clients, from their first connect on, to the next hop, which counts them."""
    ends: list[float] = []
    command = [SINK, "-u", "nobody", "-M", str(messages), f"127.0.0.1:{side.relay_to}", "500"]
    sink = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    common.wait_port("127.0.0.1", side.relay_to)
    watch = threading.Thread(target=_note_end, args=(sink, ends))
    watch.start()
    try:
        result = generators.run(
            "smtp", "--port", side.smtp, "--sessions", sessions, "--size", SIZES[size], "--messages", messages,
            "--rcpt", "someone@elsewhere.test",
        )  # fmt: skip
        watch.join(SINK_S)
    finally:
        sink.kill()
        watch.join()
    if sink.returncode:
        raise SystemExit(f"{side.name}: not all of {messages} messages came to the next hop")
    return float(messages / (ends[0] - result["began_at"]))


def _note_end(process: subprocess.Popen[bytes], ends: list[float]) -> None:
    process.wait()
    ends.append(time.monotonic())


def login(side: Any) -> float:
    """Milliseconds of one login with an argon2id password."""
    imapc = __import__("imapc")
    times = []
    for _ in range(15):
        client = imapc.Imap("127.0.0.1", side.imap)
        started = time.perf_counter()
        client.cmd(f"LOGIN {USERS[1]} secret")
        times.append(1000 * (time.perf_counter() - started))
        client.close()
    return float(common.med(times))


def rest_pss(side: Any) -> float:
    """MB of memory at rest, shared pages counted by their share."""
    time.sleep(2)
    return float(common.tree_pss(side.roots())[0] * 1024 / 1e6)


def idle_pss(side: Any, connections: int = 200) -> float:
    """KB more for each connection that has selected INBOX and idles."""
    before = common.tree_pss(side.roots())[0]
    command = ["--clients", connections, "--users", ",".join(USERS), "--port", side.imap]
    holder = subprocess.Popen(
        ["python3", f"{generators.FOLDER}/imap_load.py", "idle", *map(str, command)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdin is not None
    if not holder.stdout.readline().startswith("READY"):
        raise SystemExit(f"{side.name}: no {connections} idle connections")
    time.sleep(2)
    after = common.tree_pss(side.roots())[0]
    holder.stdin.write("\n")
    holder.stdin.close()
    holder.wait(60)
    return float((after - before) * 1024 / 1000 / connections)


def wear(make: Callable[[Path], Any], size: str, sessions: int, messages: int, folder: Path) -> float:
    """Octets written to a disk of its own for each octet of mail, up to a sync after the load."""
    image, mount = folder / "disk", folder / "mnt"
    with Disk(image, mount) as disk:
        side = make(mount / "data")
        side.start()
        try:
            inbound(side, size, 5, True, 99, 50)
            _settle()
            before = disk.written()
            inbound(side, size, sessions, True, 0, messages)
            _settle()
            after = disk.written()
        finally:
            side.stop()
    return (after - before) / (messages * SIZES[size])


def _settle() -> None:
    os.sync()
    time.sleep(1.5)
    os.sync()


class Disk:
    """A fresh ext4 in a file, on a loop device whose writes can be counted."""

    def __init__(self, image: Path, mount: Path) -> None:
        self._image, self._mount, self._device = image, mount, ""

    def __enter__(self) -> Disk:
        with self._image.open("wb") as file:
            file.truncate(3 << 30)
        options = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", options, self._image], check=True)
        self._mount.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", "loop", self._image, self._mount], check=True)
        found = subprocess.run(["findmnt", "-no", "SOURCE", self._mount], capture_output=True, text=True, check=True)
        self._device = found.stdout.strip().rsplit("/", 1)[-1]
        return self

    def written(self) -> int:
        """Octets written to the device so far."""
        return int(Path(f"/sys/block/{self._device}/stat").read_text().split()[6]) * 512

    def __exit__(self, *_: object) -> None:
        os.sync()
        for _attempt in range(20):
            if subprocess.run(["umount", self._mount], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.5)
        self._image.unlink()


def drop_caches() -> None:
    """Empty the page cache, so that the next reads come from the disk."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def checkpoint_p99(side: Any, messages: int) -> float:
    """The 99th percentile of the time to a 250, in ms, while a client takes 50 MB slowly and the store checkpoints."""
    imapc = __import__("imapc")
    client = imapc.Imap("127.0.0.1", side.imap, USERS[2], "secret")
    line = b"x" * 76 + b"\r\n"
    big = b"Subject: big\r\n\r\n" + line * (50_000_000 // len(line))
    client.wait(client.append("INBOX", big, nonsync=False), keep=False)
    client.cmd("SELECT INBOX")
    reader = subprocess.Popen(
        ["python3", "-c", _SLOW_READER, str(client.s.fileno())], pass_fds=[client.s.fileno()], stdin=subprocess.DEVNULL
    )
    try:
        return inbound(side, "4k", 10, True, 3, messages)["p99_ms"]
    finally:
        reader.kill()
        reader.wait()
        client.close()


_SLOW_READER = """
import socket, sys, time
s = socket.socket(fileno=int(sys.argv[1]))
s.setblocking(True)
s.sendall(b"slow FETCH 1 BODY.PEEK[]\\r\\n")
while s.recv(65536):
    time.sleep(0.01)
"""


def matches(row: str, pattern: str) -> bool:
    """Whether a row is asked for: `pattern` is a regular expression for its beginning."""
    return re.match(pattern, row) is not None
