"""Quarantine from the stranger's mail to the inbox: held, told by a digest, released by its link, only once; masks."""

from __future__ import annotations

import re
from contextlib import closing
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from appliance.controlclient import SocketControl
from tests.e2e import letters
from tests.e2e.appliance_process import PASSWORD, Appliance, wait_for
from tests.e2e.conftest import Make
from tests.e2e.mailreader import Reader, inbox
from tests.e2e.programs import Done, run

pytestmark = pytest.mark.e2e

ANA, LUIS = "ana@palomar.test", "luis@palomar.test"
SUBJECT = "e2e-hoax"

RULES = """
[spam.judge]
quarantine_score = 8.0

[[spam.headers.rules]]
name = "hoax"
header = "Subject"
pattern = 'e2e-hoax'
score = 9.0
reason = "it is a <b>hoax</b>"
"""


@pytest.fixture(scope="module")
def appliance(make_appliance: Make) -> Appliance:
    names = (
        "masks",
        "spam.headers",
        "spam.bayes",
        "spam.judge",
        "spam.quarantine",
        "mda",
        "smtp",
        "imap4",
        "pop3",
        "relay",
    )
    return make_appliance(top=f"plugins = {list(names)}", extra=RULES)


def ask(appliance: Appliance, name: str, **arguments: Any) -> Any:
    """What `palomar` would ask the running appliance, without a process for it."""
    # At a start the socket comes up after the ports.
    with closing(wait_for(lambda: SocketControl.connect(appliance.folder / "data"), "its control socket")) as control:
        return control.call(name, **arguments)


def learnt(appliance: Appliance) -> dict[str, int]:
    """How many messages that were no spam have taught the filter, by account."""
    return {row["account"]: row["ham"] for row in ask(appliance, "bayes.status")}


def swaks(appliance: Appliance, home: Path, port: str, *arguments: str, statuses: tuple[int, ...] = (0,)) -> Done:
    where = ("--server", "127.0.0.1", "--port", str(appliance.ports[port]))
    return run("swaks", *where, *arguments, home=home, statuses=statuses)


def release(appliance: Appliance, home: Path, account: str, link: str, *, statuses: tuple[int, ...] = (0,)) -> Done:
    login = ("--tls", "--auth", "PLAIN", "--auth-user", account, "--auth-password", PASSWORD)
    return swaks(appliance, home, "submission", *login, "--from", account, "--to", link, statuses=statuses)


def test_held_told_released_and_there(appliance: Appliance, tmp_path: Path) -> None:
    swaks(appliance, tmp_path, "mx", "--from", letters.SENDER, "--to", ANA, "--header", f"Subject: {SUBJECT}")
    (held,) = ask(appliance, "quarantine.list")
    assert (held["account"], held["subject"], held["score"]) == (ANA, SUBJECT, 9.0)
    with Reader(appliance) as reader:
        assert reader.find(SUBJECT.encode()) == []
    appliance.stop()
    appliance.start()

    assert ask(appliance, "quarantine.digest") == 1
    assert ask(appliance, "quarantine.digest") == 0
    login = ("--user", f"{ANA}:{PASSWORD}")
    read = run("curl", "-s", *login, f"imap://127.0.0.1:{appliance.ports['imap']}/INBOX;MAILINDEX=1", home=tmp_path)
    digest = message_from_bytes(read.out)
    assert digest["Subject"] == "One message is held for you"
    text, page = (part.get_payload(decode=True) for part in digest.walk() if not part.is_multipart())
    assert isinstance(text, bytes)
    assert isinstance(page, bytes)
    assert b"it is a &lt;b&gt;hoax&lt;/b&gt;" in page
    found = re.search(rb"mailto:([^?>]+)\?", text)
    assert found is not None
    link = found[1].decode().replace("%2B", "+")

    assert "550 5.7.1" in release(appliance, tmp_path, LUIS, link, statuses=(24,)).text
    stranger = swaks(appliance, tmp_path, "mx", "--from", letters.SENDER, "--to", link, statuses=(24,))
    assert "550 5.7.1" in stranger.text
    assert "250 2.0.0" in release(appliance, tmp_path, ANA, link).text
    stored = inbox(appliance, SUBJECT)
    assert letters.header_value(stored, "X-Spam-Status").startswith("No, score=9.0")
    answer = inbox(appliance, "Released from quarantine")
    assert letters.header_value(answer, "Auto-Submitted") == "auto-replied"
    assert "550 5.7.1" in release(appliance, tmp_path, ANA, link, statuses=(24,)).text
    assert ask(appliance, "quarantine.list") == []
    wait_for(lambda: learnt(appliance) == {"(all)": 1, ANA: 1}, "what the filter learnt")
    (weight,) = wait_for(lambda: ask(appliance, "spam.weights"), "the weights")
    assert (weight["check"], weight["right"], weight["wrong"]) == ("HEADERS_HOAX", 0, 1)


def test_the_administrator_s_way(appliance: Appliance) -> None:
    for number in range(2):
        appliance.deliver(letters.plain(f"{SUBJECT}-{number}", to=LUIS), LUIS)
    first, second = (row["name"] for row in ask(appliance, "quarantine.list"))
    assert f"Subject: {SUBJECT}-0" in appliance.command("quarantine", "show", first).stdout
    assert ask(appliance, "quarantine.release", names=[first]) == 1
    assert ask(appliance, "quarantine.remove", names=[second]) == 1
    inbox(appliance, f"{SUBJECT}-0", LUIS)
    gone = appliance.command("quarantine", "release", second, check=False)
    assert gone.returncode != 0
    assert "is not held" in gone.stderr
    assert appliance.queued == []


def test_a_mask_address_until_it_is_revoked(appliance: Appliance, tmp_path: Path) -> None:
    address = appliance.command("mask", "add", LUIS, "--note", "garden centre").stdout.strip()
    swaks(appliance, tmp_path, "mx", "--from", letters.SENDER, "--to", address, "--header", "Subject: e2e-mask")
    assert address.encode() in inbox(appliance, "e2e-mask", LUIS)
    ask(appliance, "masks.revoke", address=address)
    refused = swaks(appliance, tmp_path, "mx", "--from", letters.SENDER, "--to", address, statuses=(24,))
    assert "550 5.2.1 This address was made for one purpose" in refused.text
    (row,) = ask(appliance, "masks.list", account=LUIS)
    assert (row["state"], row["uses"], row["note"]) == ("revoked", 1, "garden centre")
