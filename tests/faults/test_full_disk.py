"""A full disk: senders are asked to come back, nothing promised is lost, removing works, and service comes back.

The data folder is a small file system of its own, which another program fills to the last octet.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.appliance_process import ACCOUNTS, wait_for
from tests.faults.ledger import Ledger, text_of
from tests.faults.namespace import in_namespaces
from tests.faults.nexthop import NextHop
from tests.faults.peer import Peer, imap, last_number, pop3, smtp
from tests.faults.target import Target
from tests.faults.traffic import ANA, OUTSIDE, contents

DISK_MIB = 40
RESERVE_MIB = 4
SIZES = (2000, 40_000, 400_000)  # in a row, in a segment, and by way of the spool


@contextmanager
def small_disk(folder: Path, hop: NextHop) -> Iterator[Target]:
    """An appliance whose data are on a file system of DISK_MIB. Call it in a mount namespace."""
    office = Target(
        folder,
        top='relay_networks = ["127.0.0.0/8"]\n',
        zone="outside MX 10 mx.outside\nmx.outside A 127.0.0.1\n",
        tables={
            "store": f"reserve_mib = {RESERVE_MIB}\n",
            "relay": f"port = {hop.port}\ntls = 'off'\n",
            "auth": "failure_delay = 0.0\n",
        },
    )
    data = folder / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "none", str(data)], check=True)
    office.add_accounts(*ACCOUNTS)
    with office:
        yield office


def free(office: Target) -> int:
    """Octets that are free."""
    state = os.statvfs(office.folder / "data")
    return state.f_bavail * state.f_frsize


def fill(office: Target, leave: int = 0) -> Path:
    """Let another program take all the room but `leave` octets."""
    hog = office.folder / "data" / "hog"
    with hog.open("ab", buffering=0) as file:
        for piece in (1 << 20, 1 << 12, 1):
            try:
                while free(office) >= leave + piece:
                    file.write(b"\1" * piece)
            except OSError:
                continue  # the last octets go in smaller pieces
    return hog


def deliver(office: Target, ledger: Ledger, size: int, *recipients: str) -> bytes:
    """Send one message and keep the books; the answer to its end, or the refusal before it."""
    number, text = ledger.make(size)
    places = {(number, OUTSIDE if one.endswith("outside.test") else one) for one in recipients}
    with smtp(office) as peer:
        assert peer.say("MAIL FROM:<a@outside.test>").startswith(b"250 ")
        for one in recipients:
            assert peer.say(f"RCPT TO:<{one}>").startswith(b"250 ")
        assert peer.say("DATA").startswith(b"354 ")
        peer.send(text.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        answer = peer.reply()
        assert peer.say("NOOP").startswith(b"250 "), "the session did not go on"
    if answer.startswith(b"250 "):
        ledger.promised |= places
    else:
        ledger.refused |= places
    return answer


def append(peer: Peer, text: bytes) -> bytes:
    """APPEND to Archive: the tagged answer."""
    peer.send(b"a APPEND Archive {%d+}\r\n%b\r\n" % (len(text), text))
    return peer.answered(b"a").splitlines()[-1]


def verified(office: Target, ledger: Ledger) -> list[str]:
    """What is wrong with ana's mailbox."""
    texts = asyncio.run(contents(office.ports["imap"], ANA, "INBOX"))
    return ledger.problems(ANA, [text for _, text in texts])


@in_namespaces("mount")
def test_filled_by_mail(tmp_path: Path) -> None:
    """Mail alone fills the disk up to the reserve; until then everything is taken, from then on nothing."""
    ledger = Ledger()
    with NextHop() as hop, small_disk(tmp_path / "office", hop) as office:
        answers = []
        while len(answers) < 300:
            answers.append(deliver(office, ledger, SIZES[len(answers) % 3], ANA))
            if answers[-1][:3] == b"452":
                break
            assert answers[-1][:3] == b"250", answers[-1]
        assert answers[-1].startswith(b"452 4.3.1 ")
        assert len(answers) > 30
        assert verified(office, ledger) == []
        assert all(deliver(office, ledger, SIZES[2], ANA).startswith(b"452 ") for _ in range(3))
        made_room_by_expunging(office, ledger)
        office.kill()
        office.start()
        assert verified(office, ledger) == []


def made_room_by_expunging(office: Target, ledger: Ledger) -> None:
    """Service comes back by itself when a client removes enough."""
    with imap(office) as reader:
        count = last_number(reader)
        half = sorted(ledger.expected(ANA))[: count // 2]
        assert reader.command(f"STORE 1:{count // 2} +FLAGS.SILENT (\\Deleted)").startswith(b"c OK")
        assert b"c OK" in reader.command("EXPUNGE")
        for number in half:
            ledger.remove(number, ANA)
    wait_for(lambda: deliver(office, ledger, SIZES[0], ANA).startswith(b"250 "), "room that the removed mail gave", 90)
    assert verified(office, ledger) == []


@in_namespaces("mount")
def test_filled_by_another_program(tmp_path: Path) -> None:
    """Not one octet is left: the hardest case, since even the database's log cannot grow."""
    ledger = Ledger()
    with NextHop(rcpt="451 4.3.0 Not now") as hop, small_disk(tmp_path / "office", hop) as office:
        for size in SIZES * 4:
            assert deliver(office, ledger, size, ANA, ACCOUNTS[1]).startswith(b"250 ")
        for size in SIZES:
            assert deliver(office, ledger, size, "friend@outside.test").startswith(b"250 ")
        wait_for(lambda: all(entry["attempts"] for entry in office.queued), "a first attempt")
        hog = fill(office)
        assert free(office) == 0
        for size in SIZES * 2:
            assert deliver(office, ledger, size, ANA).startswith(b"452 4.3.1 "), size
        with imap(office) as reader:
            for size in SIZES:
                assert append(reader, text_of(0, size)).startswith(b"a NO [UNAVAILABLE]"), size
            assert reader.command("NOOP").startswith(b"c OK")
        assert verified(office, ledger) == []
        removing_works(office, ledger)
        settling_works(office, hop, ledger)
        hog.unlink()
        came_back(office, ledger)
        office.kill()
        office.start()
        assert verified(office, ledger) == []


def removing_works(office: Target, ledger: Ledger) -> None:
    """EXPUNGE by IMAP and DELE by POP3, with no room at all."""
    with imap(office) as reader:
        last_number(reader)
        first = min(ledger.expected(ANA))
        assert reader.command("STORE 1 +FLAGS.SILENT (\\Deleted)").startswith(b"c OK")
        assert b"c OK" in reader.command("EXPUNGE")
        ledger.remove(first, ANA)
    with pop3(office) as fetcher:
        first = min(ledger.expected(ANA))
        fetcher.send(b"DELE 1\r\nQUIT\r\n")
        assert [line[:3] for line in fetcher.rest().splitlines()] == [b"+OK", b"+OK"]
        ledger.remove(first, ANA)
    assert verified(office, ledger) == []


def settling_works(office: Target, hop: NextHop, ledger: Ledger) -> None:
    """What waits in the queue leaves, is settled, and is not sent again."""
    hop.rcpt = "250 2.1.5 Ok"
    office.command("queue", "retry", "--all")
    wait_for(lambda: office.queued == [], "an empty queue", 30)
    assert ledger.problems(OUTSIDE, [one.message for one in hop.messages]) == []


def came_back(office: Target, ledger: Ledger) -> None:
    """No restart, no command: room is enough."""
    started = time.monotonic()
    for size in SIZES:
        wait_for(lambda size=size: deliver(office, ledger, size, ANA).startswith(b"250 "), "service", 40)  # type: ignore[misc]
    with imap(office) as reader:
        assert append(reader, text_of(0, SIZES[1])).startswith(b"a OK")
    assert time.monotonic() - started < 40
    assert verified(office, ledger) == []


@in_namespaces("mount")
def test_filled_while_mail_comes_in(tmp_path: Path) -> None:
    """The disk fills and empties under load, again and again: 250 or 452, and each 250 is kept."""
    ledger = Ledger()
    with NextHop() as hop, small_disk(tmp_path / "office", hop) as office:
        for turn in range(4):
            for size in SIZES:
                assert deliver(office, ledger, size, ANA)[:3] in {b"250", b"452"}
            hog = fill(office, leave=(0, 5000, 300_000, 2 << 20)[turn])
            for size in SIZES:
                assert deliver(office, ledger, size, ANA)[:3] in {b"250", b"452"}, turn
            hog.unlink()
            wait_for(lambda: deliver(office, ledger, SIZES[0], ANA).startswith(b"250 "), "service", 40)
        assert len(ledger.promised) >= 8
        assert verified(office, ledger) == []
        office.kill()
        office.start()
        assert verified(office, ledger) == []
