"""alpine: reads, searches, saves, sends and expunges on a terminal, key by key."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.programs import PATHS, find, write_private

pytestmark = [pytest.mark.e2e, pytest.mark.programs("alpine")]

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
SEND, NEXT, REFRESH = "\x18", "\x0e", "\x0c"  # Ctrl-X, Ctrl-N, Ctrl-L
LINES, COLUMNS = 40, 120
PATIENCE_S = 60.0


class Alpine:
    """alpine on a terminal, whose screen is kept here as it stands."""

    def __init__(self, appliance: Appliance, home: Path) -> None:
        imaps, smtps = appliance.ports["imaps"], appliance.ports["submissions"]
        folders = f"{{localhost:{imaps}/ssl/novalidate-cert/user={ANA}}}"
        config = write_private(
            home / "pinerc",
            f"user-domain=palomar.test\npersonal-name=Ana\ninbox-path={folders}INBOX\n"
            f"smtp-server=localhost:{smtps}/ssl/novalidate-cert/user={ANA}\n"
            f"folder-collections=Office {folders}[]\ndefault-fcc={folders}Sent\nuser-id=ana\nlast-version-used=9.99\n"
            "feature-list=quit-without-confirm,expunge-without-confirm,enable-aggregate-command-set,"
            f"disable-password-file-saving,allow-changing-from\ncustomized-hdrs=From: Ana <{ANA}>\n",
        )
        environment = {"HOME": str(home), "PATH": PATHS, "LANG": "C.UTF-8", "TERM": "vt100", "TZ": "UTC"}
        self._terminal: pexpect.spawn[bytes] = pexpect.spawn(
            find("alpine"), ["-p", str(config)], env=environment, cwd=str(home), dimensions=(LINES, COLUMNS)
        )
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    def press(self, keys: str, *, then: str) -> None:
        """Press keys and wait until what should follow can be read."""
        self._terminal.send(keys)
        self.sees(then)

    def sees(self, text: str) -> None:
        """Wait until a text stands on the screen."""
        end = time.monotonic() + PATIENCE_S
        while text not in (screen := "\n".join(self._screen.display)):
            assert time.monotonic() < end, f"{text!r} does not stand there:\n{screen}"
            with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
                self._stream.feed(self._terminal.read_nonblocking(65536, timeout=0.2))

    def close(self) -> None:
        self._terminal.close(force=True)


@pytest.fixture
def alpine(appliance: Appliance, tmp_path: Path) -> Iterator[Alpine]:
    for number in range(4):
        appliance.deliver(letters.plain(f"pine cone {number}", lines=(f"resin of number {number}",)))
    running = Alpine(appliance, tmp_path)
    yield running
    running.close()


def test_a_day_on_a_terminal(appliance: Appliance, alpine: Alpine) -> None:
    with Reader(appliance) as reader:
        alpine.sees("ENTER PASSWORD")
        alpine.press(f"{PASSWORD}\r", then="4 Messages")  # in the title line, which stays; messages below come and go
        alpine.press("i", then="MESSAGE INDEX")
        alpine.press("1\r\r", then="resin of number 0")
        wait_for(lambda: "\\Seen" in reader.flags()["pine cone 0"], "the message to be read")

        alpine.press("<;ta", then="TEXT to match")  # back to the index; select by all text, which the server searches
        alpine.press("resin of number 2\r", then="ZOOMED MESSAGE INDEX")
        alpine.press("as", then="SAVE Msg #3")
        alpine.press("Archive\r", then="Message 3 of 4")
        assert b"resin of number 2" in reader.wait("pine cone 2", "Archive")

        alpine.press("c", then="COMPOSE MESSAGE")
        alpine.press(f"{LUIS}\r", then=f"To      : {LUIS}")
        alpine.press(f"{NEXT * 2}From alpine\r", then="Subject : From alpine")
        alpine.press(f"written by keys{SEND}", then="Send message")
        alpine.press("y", then="ENTER PASSWORD")
        alpine.press(f"{PASSWORD}\r", then="MESSAGE INDEX")
        assert b"written by keys" in inbox(appliance, "From alpine", LUIS)
        assert b"written by keys" in reader.wait("From alpine", "Sent")

        # Saving has marked it as deleted.
        alpine.press("x", then="of 3")
        wait_for(lambda: set(reader.flags()) == {f"pine cone {n}" for n in (0, 1, 3)}, "the saved one to be expunged")
        appliance.deliver(letters.plain("pine cone new"))
        alpine.press(REFRESH, then="pine cone new")  # Ctrl-L asks for new mail
        alpine.press("q", then="Kept all 4 messages")
