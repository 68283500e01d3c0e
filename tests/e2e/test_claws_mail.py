"""Claws Mail on a desktop: an account is set up in its windows; mail is read, written, moved and searched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.desktop import SIZE, Desktop
from tests.e2e.mailreader import Reader, inbox

pytestmark = [pytest.mark.e2e, pytest.mark.programs("claws-mail", "Xvfb", "xdotool", "import")]

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
SUBJECTS = ("The loft door", "Corn for the winter", "Rings of 2026", "A visit on Sunday", "New perches")
SETTINGS = """[Common]
enable_aspell=0
mainwin_x=0
mainwin_y=0
"""


class Claws:
    """The running program, driven by its windows and by the command line that it has for that."""

    TITLE = "Claws Mail [0-9]"

    def __init__(self, desktop: Desktop, appliance: Appliance) -> None:
        self.desktop = desktop
        self._root = f"#imap/{ANA}@localhost:{appliance.ports['imaps']}"

    def set_up(self) -> None:
        """Go through the wizard, page by page, and look at the server's certificate."""
        self.desktop.start("claws-mail", "--geometry", f"{SIZE}+0+0")
        wizard = self.desktop.window("Setup Wizard")

        def turned() -> bool:
            self.desktop.click(wizard, 255, 20)  # Next; on the last page it cannot be pressed
            self.desktop.click(wizard, 152, 20)  # Save; on the last page only it can
            return not self.desktop.windows("Setup Wizard")

        wait_for(turned, "the wizard's end")
        self.accept_certificate()

    def accept_certificate(self) -> None:
        """Say yes to a certificate that it meets for the first time, though it trusts its issuer."""
        certificate = self.desktop.window("TLS certificate")
        self.desktop.click(certificate, 86, 29)
        wait_for(lambda: not self.desktop.windows("TLS certificate"), "the certificate to be accepted")

    def folders(self) -> set[str]:
        """The names of all folders it shows."""
        lines = self.desktop.call("claws-mail", "--status-full").splitlines()
        return {line.split("/")[-1] for line in lines if "#imap" in line}

    def found(self, kind: str, text: str, folder: str = "INBOX") -> int:
        """How many messages a search finds; "e" makes it an extended one, which the server answers."""
        return len(self.desktop.call("claws-mail", "--search", f"{self._root}/{folder}", kind, text).split())

    def show(self, message: int, folder: str = "INBOX") -> None:
        """Open a folder at one message, by its UID."""
        self.desktop.call("claws-mail", "--select", f"{self._root}/{folder}/{message}")

    def send(self, message: str) -> None:
        """Open a window with this message, write a line more, and press Send."""
        self.desktop.call("claws-mail", "--compose-from-file", "-", stdin=message.encode())
        window = self.desktop.window("Compose message")
        self.desktop.click(window, 100, 100)  # from the addresses into the text
        self.desktop.press(window, "ctrl+End")
        self.desktop.write(window, "And one line typed by hand.")
        self.desktop.press(window, "ctrl+Return")

    def move(self, downwards: int) -> None:
        """Move the message that is shown to the folder so many lines below the account's name."""
        self.desktop.press(self.desktop.window(self.TITLE), "ctrl+o")
        chooser = self.desktop.window("Select folder")
        self.desktop.press(chooser, *["Down"] * downwards)
        self.desktop.click(chooser, 45, 20)
        wait_for(lambda: not self.desktop.windows("Select folder"), "the folder to be chosen")


@pytest.fixture
def claws(appliance: Appliance, tmp_path: Path, trust: Path) -> Iterator[Claws]:
    settings = tmp_path / ".claws-mail"
    settings.mkdir()
    (settings / "clawsrc").write_text(SETTINGS)
    (settings / "accountrc.tmpl").write_text(
        f"[AccountTemplate]\ndomain=palomar.test\nname=Ana\nemail={ANA}\n"
        f"recvtype=1\nrecvserver=localhost:{appliance.ports['imaps']}\nrecvuser={ANA}\nrecvpass={PASSWORD}\n"
        f"recvssl=1\nimapdir=\nsubsonly=0\nsmtpserver=localhost:{appliance.ports['submissions']}\n"
        f"smtpauth=1\nsmtpuser={ANA}\nsmtppass={PASSWORD}\nsmtpssl=1\n"
    )
    with Desktop(tmp_path, {"SSL_CERT_FILE": str(trust)}) as desktop:
        yield Claws(desktop, appliance)


def test_a_day_at_the_desk(appliance: Appliance, claws: Claws, tmp_path: Path) -> None:
    for subject in SUBJECTS:
        appliance.deliver(letters.plain(subject, lines=("Dear Ana,", "", f"this is about: {subject}.", "", "Ines")))
    claws.set_up()
    names = {"INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"}
    wait_for(lambda: claws.folders() >= names, "the folders")

    assert claws.found("s", "winter") == 1
    assert claws.found("f", "ines@example.org") == len(SUBJECTS)
    assert claws.found("e", 'B "about: rings"') == 1  # in the text, so the server looks
    assert claws.found("e", 'B "no such word"') == 0

    with Reader(appliance) as reader:
        claws.show(2)
        wait_for(lambda: "\\Seen" in reader.flags()[SUBJECTS[1]], "the message to be read")
        assert [subject for subject, flags in reader.flags().items() if "\\Seen" in flags] == [SUBJECTS[1]]
        if keep := os.environ.get("PALOMAR_SCREENSHOT"):
            claws.desktop.screenshot(Path(keep).absolute())

        claws.send(f"To: {LUIS}\nSubject: From a window\n\nWritten in a window. ñandú\n")
        claws.accept_certificate()
        stored = inbox(appliance, "From a window", LUIS)
        assert letters.header_value(stored, "From") == f"Ana <{ANA}>"
        assert b"typed by hand" in stored
        assert b"typed by hand" in reader.wait("From a window", "Sent")

        claws.move(downwards=6)
        assert b"this is about" in reader.wait(SUBJECTS[1], "Archive")
        wait_for(lambda: SUBJECTS[1] not in reader.flags(), "the message to leave INBOX")
        assert set(reader.flags()) == {*SUBJECTS} - {SUBJECTS[1]}
        assert claws.found("s", "winter", "Archive") == 1
