"""Two clients at once: what one removes, renames or moves while the other reads, appends or moves it too.

No message is lost or given twice, no number drifts, and no answer is other than one that the RFCs know.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import Reader
from tests.e2e.test_mbsync import Mbsync, content

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
MANY = 150


@pytest.fixture
def reader(appliance: Appliance) -> Iterator[Reader]:
    """INBOX with numbered messages; the other mailboxes are empty."""
    with Reader(appliance) as reader:
        for mailbox in ("INBOX", "Archive", "Junk"):
            reader.clear(mailbox)
        yield reader


def client(appliance: Appliance, mailbox: str | None = "INBOX") -> IMAPClient:
    made = IMAPClient("127.0.0.1", port=appliance.ports["imap"], ssl=False, timeout=60)
    made.login(ANA, PASSWORD)
    if mailbox is not None:
        made.select_folder(mailbox)
    return made


def fill(appliance: Appliance, count: int, mailbox: str = "INBOX") -> list[int]:
    """Append numbered messages and return their uids."""
    with client(appliance, None) as filling:
        letter = [(letters.plain(f"race {number:03}"), (), None) for number in range(count)]
        for one, flags, at in letter:
            filling.append(mailbox, one, flags, at)
        filling.select_folder(mailbox)
        return list(filling.search())


def together(*tasks: Callable[[], object]) -> list[object]:
    """Run functions at the same time, each in a thread of its own, and return what they return."""
    start = threading.Barrier(len(tasks))

    def run(task: Callable[[], object]) -> object:
        start.wait(20)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [one.result(60) for one in [pool.submit(run, task) for task in tasks]]


def number_of(message: bytes) -> int:
    match = re.search(rb"^Subject: race (\d+)", message, re.MULTILINE)
    assert match is not None
    return int(match[1])


def test_one_expunges_while_the_other_fetches(appliance: Appliance, reader: Reader) -> None:
    uids = fill(appliance, MANY)
    subject = {uid: number for number, uid in enumerate(uids)}
    fetched: list[dict[int, int]] = []

    def fetch() -> None:
        with client(appliance) as fetching:
            for _ in range(6):
                found = fetching.fetch(uids, ["BODY.PEEK[]"])
                # Those that are gone may be missing, as RFC 7162 and RFC 3501 let them; none has another's text.
                fetched.append({uid: number_of(one[b"BODY[]"]) for uid, one in found.items() if b"BODY[]" in one})
                fetching.noop()

    def expunge() -> None:
        with client(appliance) as removing:
            for start in range(0, MANY, 20):
                removing.delete_messages(uids[start : start + 20 : 2])
                removing.expunge()

    together(fetch, expunge)
    assert len(fetched) == 6
    for found in fetched:
        assert found == {uid: subject[uid] for uid in found}
        assert set(uids[1::2]) <= set(found)
    assert [number_of(message) for message in reader.messages()] == [*range(1, MANY, 2)]
    with client(appliance) as later:
        assert [*later.search()] == uids[1::2]


def test_sequence_numbers_hold_until_the_client_is_told(appliance: Appliance, reader: Reader) -> None:
    uids = fill(appliance, 60)
    with client(appliance) as first, client(appliance) as second:
        first.use_uid = False

        def by_number() -> None:
            for _ in range(20):  # FETCH must not tell of EXPUNGE (RFC 3501 section 7.4.1), so numbers stay
                found = first.fetch(range(41, 61), ["UID"])
                assert {sequence: one[b"SEQ"] for sequence, one in found.items()} == {n: n for n in found}
                assert all(uids[one[b"SEQ"] - 1] == one.get(b"UID", uids[one[b"SEQ"] - 1]) for one in found.values())

        def remove() -> None:
            for uid in uids[:40]:
                second.delete_messages([uid])
                second.expunge()

        together(by_number, remove)
        first.noop()
        first.use_uid = True
        assert [*first.search()] == uids[40:]


@pytest.mark.parametrize("change", ["rename", "delete"])
def test_one_renames_or_deletes_the_mailbox_that_the_other_has_selected(
    appliance: Appliance, reader: Reader, change: str
) -> None:
    name = f"Race {change}"
    with client(appliance, None) as second:
        second.create_folder(name)
        uids = fill(appliance, 20, name)
        with client(appliance, name) as first:
            assert len(first.fetch(uids, ["FLAGS"])) == 20
            if change == "rename":
                second.rename_folder(name, f"{name}d")
                # The mailbox that was selected is still the same one (RFC 9051 section 6.3.6 speaks of names only).
                assert len(first.fetch(uids, ["BODY.PEEK[HEADER]"])) == 20
                first.add_flags([uids[0]], [b"\\Flagged"])
                assert {name for name, flags in reader.flags(f"{name}d").items() if "\\Flagged" in flags} == {
                    "race 000"
                }
                second.delete_folder(f"{name}d")
            else:
                second.delete_folder(name)
            # Who had it open may read on (RFC 2180 section 3.3), but what it is given is no other mailbox's.
            with contextlib.suppress(IMAPClientError, imaplib.IMAP4.abort):
                found = first.fetch(uids, ["BODY.PEEK[]"])
                given = {uid: number_of(one[b"BODY[]"]) for uid, one in found.items()}
                assert given.items() <= dict(zip(uids, range(20), strict=True)).items()
            with pytest.raises((IMAPClientError, imaplib.IMAP4.abort)):
                first.append(name, letters.plain("into nothing"))
        assert name not in reader.mailboxes()
        second.create_folder(name)
        assert second.select_folder(name)[b"EXISTS"] == 0
        second.unselect_folder()
        second.delete_folder(name)


def test_both_append_and_move(appliance: Appliance, reader: Reader) -> None:
    uids = fill(appliance, 60)
    each = 20

    def work(name: str, target: str) -> Callable[[], list[int]]:
        def run() -> list[int]:
            given = []
            with client(appliance) as working:
                for number in range(each):
                    said = working.append("INBOX", letters.plain(f"race {name} {number:03}"))
                    given.append(int(re.findall(rb"APPENDUID \d+ (\d+)", said)[0]))
                    working.move([uids[number], uids[number + 20]], target)
                    if number % 10 == 0:
                        working.noop()
            return given

        return run

    first, second = together(work("of one", "Archive"), work("of two", "Junk"))
    assert isinstance(first, list)
    assert isinstance(second, list)
    given = sorted(first + second)
    assert len(set(given)) == 2 * each
    assert given[0] > max(uids)
    assert first == sorted(first)

    # Each message is in one place, whoever was first to move it.
    moved = sorted(number_of(one) for mailbox in ("Archive", "Junk") for one in reader.messages(mailbox))
    assert moved == [*range(40)]
    left = [one for one in reader.flags() if re.fullmatch(r"race \d+", one)]
    assert left == [f"race {number:03}" for number in range(40, 60)]
    assert reader.count() == 20 + 2 * each


def test_mbsync_runs_while_another_client_moves_and_expunges(
    appliance: Appliance, tmp_path: Path, trust: Path, reader: Reader
) -> None:
    uids = fill(appliance, MANY)
    mbsync = Mbsync(appliance, tmp_path, trust, ANA, "imaps", "PLAIN")

    def disturb() -> None:
        with client(appliance) as disturbing:
            for start in range(0, 100, 20):
                disturbing.move(uids[start : start + 5], "Archive")
                disturbing.delete_messages(uids[start + 5 : start + 10])
                disturbing.expunge()
                disturbing.add_flags(uids[start + 10 : start + 15], [b"\\Flagged"])
                disturbing.append("INBOX", letters.plain(f"race {900 + start}"))

    together(mbsync, disturb)
    mbsync()
    for mailbox in ("INBOX", "Archive"):
        here = {subject: content(path) for subject, path in mbsync.files(mailbox).items()}
        there = {f"race {number_of(message):03}": message for message in reader.messages(mailbox)}
        assert here == there
    assert reader.count("Archive") == 25
    assert reader.count() == MANY - 50 + 5
