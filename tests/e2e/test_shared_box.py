"""office@: a box that two people read and write with different programs, shared from the command line."""

from __future__ import annotations

import imaplib
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.programs import run

pytestmark = pytest.mark.e2e

ANA, LUIS, OFFICE = "ana@palomar.test", "luis@palomar.test", "office@palomar.test"
INBOX = f"Shared Folders/{OFFICE}/INBOX"


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    made = make_appliance(accounts=(ANA, LUIS, OFFICE))
    made.command("mailbox", "role", OFFICE)
    for whom in (ANA, LUIS):
        found = made.ask("mailbox", "share", OFFICE, "INBOX", whom, "--rights", "lrswitek", "--json")
        assert found["shown_as"] == INBOX
    assert [row["whom"] for row in made.ask("mailbox", "shares", OFFICE, "--json")] == [ANA, LUIS]
    return made


def opened(appliance: Appliance, account: str) -> imaplib.IMAP4:
    imap = imaplib.IMAP4("127.0.0.1", appliance.ports["imap"], timeout=60)
    imap.login(account, PASSWORD)
    status, said = imap.select(f'"{INBOX}"')
    assert status == "OK", said
    return imap


def test_two_people_work_in_one_box(appliance: Appliance, tmp_path: Path, trust: Path) -> None:
    """Ana by imaplib, Luis by curl: each finds what came for the office, and what the other has done with it."""
    appliance.deliver(letters.plain("for the office"), OFFICE)
    ana = opened(appliance, ANA)
    wait_for(lambda: ana.noop() and ana.search(None, "ALL")[1] == [b"1"], "the letter")
    url = f"imap://127.0.0.1:{appliance.ports['imap']}/{quote(INBOX)}"
    common = ("-sS", "-m", "20", "--cacert", str(trust), "-u", f"{LUIS}:{PASSWORD}")

    def curl(*arguments: str, path: str = "") -> str:
        return run("curl", *common, *arguments, url + path, home=tmp_path).text

    assert "for the office" in curl(path=";MAILINDEX=1")
    curl("-X", "STORE 1 +FLAGS (\\Answered)")
    ana.noop()
    assert "Answered" in str(ana.fetch("1", "(FLAGS)"))
    assert f'"{INBOX}"' in curl("-X", 'LIST "Shared Folders/" "*"')
    ana.store("1", "+FLAGS", "(\\Deleted)")
    ana.expunge()
    assert "MESSAGES 0" in curl("-X", f'STATUS "{INBOX}" (MESSAGES)')
    ana.logout()


def test_what_is_not_shared_any_more_is_closed(appliance: Appliance) -> None:
    luis = opened(appliance, LUIS)
    appliance.command("mailbox", "unshare", OFFICE, "INBOX", LUIS)
    status, _ = luis.search(None, "ALL")
    assert status == "NO"
    assert luis.select(f'"{INBOX}"') == ("NO", [b"[NONEXISTENT] There is no such mailbox"])
    luis.logout()


def test_sharing_outlives_a_restart(appliance: Appliance) -> None:
    appliance.stop()
    appliance.start()
    ana = opened(appliance, ANA)
    status, said = ana.myrights(f'"{INBOX}"')
    assert status == "OK"
    assert said == [f'"{INBOX}" lrswiktecd'.encode()]
    ana.logout()
