"""The rows about one large mailbox: how IMAP and POP3 answer from it, cold and warm, on one side."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import generators
from tests.bench.rows import drop_caches
from tests.bench.sides import PASSWORD, USERS

generators.require()

import common  # noqa: E402
import gen_corpus  # noqa: E402

CORPUS = Path(tempfile.gettempdir()) / "peerbench" / "corpus.bin"
AT_ONCE = 10_000  # messages of the corpus; a larger mailbox holds it several times
TIMES = 3


def populate(side: Any, messages: int) -> None:
    """Fill the first user's INBOX with the corpus; and wait until a search index is made, on the side that has one."""
    CORPUS.parent.mkdir(parents=True, exist_ok=True)
    gen_corpus.ensure(str(CORPUS))
    for start in range(0, messages, AT_ONCE):
        count = min(AT_ONCE, messages - start)
        generators.run("imap", "populate", "--port", side.imap, "--corpus", CORPUS, "--count", count)
    if hasattr(side, "wait_for_index"):
        side.wait_for_index(180 + messages / 100)


def imap(side: Any) -> dict[str, float]:
    """Milliseconds of each operation on the populated INBOX."""
    result = generators.run("imap", "bench", "--port", side.imap, "--corpus", CORPUS)
    figures = {name: operation["ms"] for name, operation in result["ops"].items()}
    figures["fetch_all_flags_uid_first"] = result["ops"]["fetch_all_flags_uid"]["first_ms"]
    return figures


def imap_more(side: Any) -> dict[str, float]:
    """Milliseconds of what the generator does not measure: short searches, THREAD by subjects, a large EXPUNGE."""
    imapc = __import__("imapc")
    client = imapc.Imap("127.0.0.1", side.imap, USERS[0], PASSWORD)
    client.cmd("SELECT INBOX")

    def timed(line: str) -> float:
        started = time.perf_counter()
        client.cmd(line, False)
        return 1000 * (time.perf_counter() - started)

    def median_of(line: str) -> float:
        return float(common.med([timed(line) for _ in range(TIMES)]))

    figures = {
        "search_text_short": median_of('SEARCH TEXT "qz"'),
        "search_body_short": median_of('SEARCH BODY "zqx"'),
        "thread_orderedsubject": median_of("THREAD ORDEREDSUBJECT UTF-8 ALL"),
    }
    times = []
    for number in range(TIMES):
        client.cmd(f"CREATE Expunged{number}")
        client.cmd(f"COPY 1:5000 Expunged{number}", False)
        client.cmd(f"SELECT Expunged{number}")
        client.cmd(r"STORE 1:* +FLAGS.SILENT (\Deleted)", False)
        times.append(timed("EXPUNGE"))
        client.cmd("SELECT INBOX")
        client.cmd(f"DELETE Expunged{number}")
    client.close()
    return {**figures, "expunge_5000": float(common.med(times))}


def imap_cold(side: Any) -> dict[str, float]:
    """The first list of all messages after a restart with an empty page cache."""
    side.stop()
    drop_caches()
    side.start()
    imapc = __import__("imapc")
    started = time.perf_counter()
    client = imapc.Imap("127.0.0.1", side.imap, USERS[0], PASSWORD)
    client.cmd("SELECT INBOX")
    selected = time.perf_counter()
    client.cmd("FETCH 1:* (UID ENVELOPE BODYSTRUCTURE)", False)
    fetched = time.perf_counter()
    client.close()
    return {
        "cold_login_select": 1000 * (selected - started),
        "cold_envelope_bodystructure": 1000 * (fetched - selected),
    }


def imap_qresync(side: Any, changes: int = 100) -> float:
    """Milliseconds in which a client that was away while messages changed has the mailbox again (RFC 7162)."""
    imapc = __import__("imapc")
    other = imapc.Imap("127.0.0.1", side.imap, USERS[0], PASSWORD)
    status = other.cmd("STATUS INBOX (MESSAGES UIDVALIDITY HIGHESTMODSEQ)")
    known = {name: int(value) for name, value in re.findall(rb"(UIDVALIDITY|HIGHESTMODSEQ|MESSAGES) (\d+)", status)}
    other.cmd("SELECT INBOX")
    places = range(1, known[b"MESSAGES"] + 1, max(1, known[b"MESSAGES"] // changes))[:changes]
    for place in places:
        other.cmd(f"STORE {place} +FLAGS.SILENT (\\Answered)")
    times = []
    for _ in range(15):
        client = imapc.Imap("127.0.0.1", side.imap, USERS[0], PASSWORD)
        client.cmd("ENABLE QRESYNC")
        started = time.perf_counter()
        told = client.cmd(f"SELECT INBOX (QRESYNC ({known[b'UIDVALIDITY']} {known[b'HIGHESTMODSEQ']}))")
        times.append(1000 * (time.perf_counter() - started))
        if told.count(b" FETCH (") != len(places):
            raise SystemExit(f"{side.name}: not {len(places)} changes were told")
        client.close()
    for place in places:
        other.cmd(f"STORE {place} -FLAGS.SILENT (\\Answered)")
    other.close()
    return float(common.med(times))


def pop3(side: Any) -> dict[str, float]:
    """Milliseconds of the steps of a POP3 session."""
    result = generators.run("pop3", "--port", side.pop3)
    each = 1000 / result["retr_n"]
    return {
        "login": result["login_ms"],
        "login_retr_1000": result["login_ms"] + 1000 * each * result["retr_s"],
        "list_uidl": result["list_uidl_ms"],
        "retr": each * result["retr_s"],
        "retr_pipelined": each * result["retr_pipelined_s"],
    }
