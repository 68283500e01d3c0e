"""mbsync: two-way synchronisation of a thousand messages, which a second run leaves alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import Reader
from tests.e2e.programs import Done, run, write_private

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
EACH = 500  # messages that begin on either side
SYNC_S = 60.0
OLD, RECENT = 1_000_000_000, 1_700_000_000  # when the first of them arrived, in epoch seconds


class Mbsync:
    """Runs mbsync between one account and a Maildir."""

    def __init__(self, appliance: Appliance, home: Path, trust: Path, account: str, way: str, mechanism: str) -> None:
        self._home = home
        self.maildir = home / "Mail"
        for name in ("cur", "new", "tmp"):
            (self.maildir / "INBOX" / name).mkdir(parents=True)
        self._config = write_private(
            home / "mbsyncrc",
            f"""
IMAPAccount office
Host localhost
Port {appliance.ports[way]}
User {account}
Pass "{PASSWORD}"
SSLType {"IMAPS" if way == "imaps" else "STARTTLS"}
CertificateFile {trust}
AuthMechs {mechanism}

IMAPStore far
Account office

MaildirStore near
Path {self.maildir}/
Inbox {self.maildir}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Sync All
Create Both
Remove Both
Expunge Both
CopyArrivalDate yes
SyncState *
""",
        )

    def __call__(self) -> Done:
        return run("mbsync", "-c", self._config, "-V", "all", home=self._home, seconds=SYNC_S)

    def files(self, mailbox: str = "INBOX") -> dict[str, Path]:
        """The messages of a Maildir by their subject."""
        found = {}
        for folder in ("cur", "new"):
            for path in (self.maildir / mailbox / folder).iterdir():
                subject = re.search(rb"^Subject: ([^\r\n]*)", path.read_bytes(), re.MULTILINE)
                assert subject is not None
                found[subject[1].decode()] = path
        return found

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Every message file with its inode and time: what a run moves changes here."""
        files = {path: path.stat() for name in ("cur", "new") for path in (self.maildir / "INBOX" / name).iterdir()}
        return {str(path): (stat.st_ino, stat.st_mtime_ns) for path, stat in files.items()}


def put(maildir: Path, message: bytes, flags: str, name: str) -> Path:
    """Put a message into a Maildir as a mail program does, with Unix line ends."""
    path = maildir / "INBOX" / "cur" / f"{name}.here:2,{flags}"
    path.write_bytes(message.replace(b"\r\n", b"\n"))
    return path


def add_flags(path: Path, flags: str) -> None:
    """Rename a message so that it has these flags."""
    base, _, old = path.name.partition(":2,")
    path.rename(path.parent.parent / "cur" / f"{base}:2,{''.join(sorted(set(old) | set(flags)))}")


def unmarked(message: bytes) -> bytes:
    """The message without the field by which mbsync finds again what it has moved."""
    return re.sub(rb"X-TUID: [^\r\n]*\r\n", b"", message)


def content(path: Path) -> bytes:
    """A message of the Maildir with the line ends of the wire."""
    return unmarked(path.read_bytes().replace(b"\n", b"\r\n"))


def flags_of(path: Path) -> str:
    return path.name.partition(":2,")[2]


@pytest.fixture(scope="module")
def reader(appliance: Appliance) -> Iterator[Reader]:
    with Reader(appliance) as reader:
        yield reader


@pytest.fixture(scope="module")
def mbsync(appliance: Appliance, reader: Reader, trust: Path, tmp_path_factory: pytest.TempPathFactory) -> Mbsync:
    """500 messages there, 500 here, synchronised once."""
    made = Mbsync(appliance, tmp_path_factory.mktemp("mbsync"), trust, ANA, "imaps", "SCRAM-SHA-256 PLAIN")
    spool = tmp_path_factory.mktemp("import") / "mail"
    for name in ("cur", "new", "tmp"):
        (spool / name).mkdir(parents=True)
    for number in range(EACH):
        path = spool / "cur" / f"{number}.there:2,{'S' if number % 2 else ''}"
        path.write_bytes(letters.awkward(f"there-{number}"))
        here = put(made.maildir, letters.awkward(f"here-{number}"), "F" if number % 5 == 0 else "", str(number))
        for one, start in ((path, OLD), (here, RECENT)):
            os.utime(one, (start + number, start + number))
    appliance.command("mailbox", "import", ANA, str(spool))
    assert reader.count() == EACH
    made()
    return made


def test_both_sides_have_all_thousand(mbsync: Mbsync, reader: Reader) -> None:
    names = [f"{side}-{number}" for side in ("here", "there") for number in range(EACH)]
    wanted = {name: letters.awkward(name) for name in names}
    stored = {letters.header_value(message, "Subject"): message for message in reader.messages()}
    assert {subject: unmarked(message) for subject, message in stored.items()} == wanted
    assert {subject: content(path) for subject, path in mbsync.files().items()} == wanted


def test_flags_and_dates_came_along(mbsync: Mbsync, reader: Reader) -> None:
    flags = reader.flags()
    for number in range(EACH):
        assert ("\\Flagged" in flags[f"here-{number}"]) is (number % 5 == 0)
    files = mbsync.files()
    for number in range(EACH):
        assert ("S" in flags_of(files[f"there-{number}"])) is bool(number % 2)
    arrivals = reader.arrivals()
    for number in range(EACH):
        assert arrivals[f"here-{number}"] == RECENT + number
        assert files[f"there-{number}"].stat().st_mtime == arrivals[f"there-{number}"] == OLD + number


def test_the_second_run_moves_nothing(mbsync: Mbsync, reader: Reader) -> None:
    here, there = mbsync.snapshot(), reader.status()
    done = mbsync()
    assert (mbsync.snapshot(), reader.status()) == (here, there)
    assert "near side: 1000 messages" in done.text
    assert "far side: 1000 messages" in done.text


def test_changes_of_either_side_reach_the_other(appliance: Appliance, mbsync: Mbsync, reader: Reader) -> None:
    files = mbsync.files()
    add_flags(files["here-1"], "RS")
    add_flags(files["there-2"], "F")
    files["there-3"].unlink()
    add_flags(files["here-4"], "T")  # mbsync expunges what is marked as trashed
    reader.store("there-6", "+FLAGS (\\Answered)")
    reader.store("here-6", "+FLAGS (\\Seen \\Draft)")
    reader.store("there-8", "+FLAGS (\\Deleted)")
    reader.store("here-8", "+FLAGS (\\Deleted)")
    reader.expunge()
    appliance.deliver(letters.awkward("news"))
    put(mbsync.maildir, letters.plain("written here"), "S", "extra")

    mbsync()

    flags, files = reader.flags(), mbsync.files()
    assert set(flags) == set(files)
    gone = {"there-3", "here-4", "there-8", "here-8"}
    assert not gone & set(flags)
    assert len(flags) == 2 * EACH - len(gone) + 2
    assert flags["here-1"] >= {"\\Answered", "\\Seen"}
    assert "\\Flagged" in flags["there-2"]
    assert "R" in flags_of(files["there-6"])
    assert set("DS") <= set(flags_of(files["here-6"]))
    assert flags["written here"] == {"\\Seen"}
    here, there = mbsync.snapshot(), reader.status()
    mbsync()
    assert (mbsync.snapshot(), reader.status()) == (here, there)


def test_mailboxes_are_made_on_both_sides(mbsync: Mbsync, reader: Reader) -> None:
    for name in ("cur", "new", "tmp"):
        os.makedirs(mbsync.maildir / "Projects" / "Año nuevo" / name)
    (mbsync.maildir / "Projects" / "Año nuevo" / "cur" / "1.here:2,").write_bytes(b"Subject: plan\n\nParty.\n")
    mbsync()
    assert "Projects/Año nuevo" in reader.mailboxes()
    assert [letters.header_value(message, "Subject") for message in reader.messages("Projects/Año nuevo")] == ["plan"]
    assert (mbsync.maildir / "Sent").is_dir()


@pytest.mark.parametrize(("way", "mechanism"), [("imap", "PLAIN"), ("imap", "LOGIN"), ("imaps", "SCRAM-SHA-256")])
def test_every_way_in(appliance: Appliance, trust: Path, tmp_path: Path, way: str, mechanism: str) -> None:
    subject = f"mbsync-{way}-{mechanism}"
    appliance.deliver(letters.plain(subject), LUIS)
    mbsync = Mbsync(appliance, tmp_path, trust, LUIS, way, mechanism)
    mbsync()
    assert letters.as_sent(content(mbsync.files()[subject])) == letters.plain(subject)
