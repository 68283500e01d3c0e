"""fetchmail: POP3 and IMAP, in TLS and STARTTLS; what it hands to its delivery program is what was sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance
from tests.e2e.mailreader import Reader
from tests.e2e.programs import Done, run, write_private

pytestmark = pytest.mark.e2e

ANA = "ana@palomar.test"
NO_MAIL = 1  # its exit status then
WAYS = ["pop3", "pop3s", "imap", "imaps"]


class Fetchmail:
    """Runs fetchmail; each message that it delivers becomes a file."""

    def __init__(self, appliance: Appliance, home: Path, trust: Path) -> None:
        self._appliance, self._home, self._trust = appliance, home, trust
        self._fetched = home / "fetched"
        self._fetched.mkdir()
        self._mda = home / "mda"
        self._mda.write_text(f'cat > "{self._fetched}/$(ls "{self._fetched}" | wc -l)"\n')

    def __call__(self, way: str, account: str, *options: str, statuses: tuple[int, ...] = (0,)) -> Done:
        tls = "ssl" if way.endswith("s") else "sslproto TLS1.2+"  # without "ssl" it does STARTTLS or STLS
        poll = f"poll localhost protocol {way.rstrip('s')} service {self._appliance.ports[way]}"
        user = f'user "{account}" password "{PASSWORD}" is ana here'
        config = write_private(
            self._home / "fetchmailrc",
            f'{poll}\n{user} {tls} sslcertck sslcertfile "{self._trust}" no rewrite mda "/bin/sh {self._mda}"\n',
        )
        common = ("--nodetach", "--nosyslog", "--invisible", "-v", "-f", str(config))
        return run("fetchmail", *common, *options, home=self._home, statuses=statuses)

    def taken(self) -> list[bytes]:
        """What was delivered since the last call, in order."""
        paths = sorted(self._fetched.iterdir(), key=lambda path: int(path.name))
        found = [path.read_bytes() for path in paths]
        for path in paths:
            path.unlink()
        return found


@pytest.fixture
def fetchmail(appliance: Appliance, tmp_path: Path, trust: Path) -> Fetchmail:
    return Fetchmail(appliance, tmp_path, trust)


@pytest.fixture
def drop(appliance: Appliance) -> list[bytes]:
    """Four messages in ana's INBOX and nothing else: as stored, with the line ends of a Unix file."""
    with Reader(appliance) as reader:
        reader.clear()
        for number in range(3):
            appliance.deliver(letters.awkward(f"fetch-{number}"))
        appliance.deliver(letters.with_attachment("fetch-large", letters.noise(200_000)))
        return [message.replace(b"\r\n", b"\n") for message in reader.messages()]


@pytest.mark.parametrize("way", WAYS)
def test_all_is_fetched_and_removed(appliance: Appliance, fetchmail: Fetchmail, drop: list[bytes], way: str) -> None:
    fetchmail(way, ANA)
    assert fetchmail.taken() == drop
    with Reader(appliance) as reader:
        assert reader.count() == 0
    fetchmail(way, ANA, statuses=(NO_MAIL,))


@pytest.mark.parametrize("way", ["pop3s", "imaps"])
def test_what_is_kept_is_not_fetched_again(
    appliance: Appliance, fetchmail: Fetchmail, drop: list[bytes], way: str
) -> None:
    options = ("--keep", "--uidl") if way.startswith("pop3") else ("--keep",)
    fetchmail(way, ANA, *options)
    assert fetchmail.taken() == drop
    fetchmail(way, ANA, *options, statuses=(NO_MAIL,))
    appliance.deliver(letters.plain(f"fetch-later-{way}"))
    fetchmail(way, ANA, *options)
    assert [b"fetch-later" in message for message in fetchmail.taken()] == [True]
    with Reader(appliance) as reader:
        assert reader.count() == len(drop) + 1
        # Whoever keeps mail fetches it by TOP, which is a look and not a read.
        assert {"\\Seen" in flags for flags in reader.flags().values()} == {way == "imaps"}


def test_another_mailbox(appliance: Appliance, fetchmail: Fetchmail) -> None:
    appliance.command("mailbox", "create", ANA, "Projects/Harbour")
    with Reader(appliance) as reader:
        reader.append(letters.plain("fetch-harbour"), "Projects/Harbour")
    fetchmail("imaps", ANA, "--folder", "Projects/Harbour")
    assert fetchmail.taken() == [letters.plain("fetch-harbour").replace(b"\r\n", b"\n")]


def test_a_limit_leaves_large_mail(fetchmail: Fetchmail, drop: list[bytes]) -> None:
    fetchmail("pop3s", ANA, "--limit", "100000")
    assert fetchmail.taken() == drop[:3]
    fetchmail("pop3s", ANA)
    assert fetchmail.taken() == drop[3:]
