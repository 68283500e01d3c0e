"""`palomar dmarc` and its records, on a store that no appliance holds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.mail.message import Message
from appliance.store.soft import SoftStore
from plugins.spam.dmarc.protocol_failure import read_failure
from plugins.spam.dmarc.protocol_received import read_report
from plugins.spam.dmarc.protocol_report import PolicyPublished, Row
from plugins.spam.dmarc.received import _add_failure, _add_report
from plugins.spam.dmarc.schema import MIGRATIONS
from plugins.spam.dmarc.tally import Tallies
from tests.appliance.cli.conftest import Shell
from tests.plugins.spam.dmarc.test_reports_received import FAILURE, ONE, TWO, xml

NOW = 4_000_000_000


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    config = tmp_path / "palomar.toml"
    config.write_text(
        f'data = "{tmp_path}/data"\nhostname = "mail.palomar.test"\ndomains = ["palomar.test"]\n'
        'plugins = ["mda", "spam.dmarc", "relay"]\n[store]\nreserve_mib = 0\n'
        '[spam.dmarc]\nreport_address = "dmarc@palomar.test"\n'
    )
    (tmp_path / "data").mkdir()
    return Shell(config)


async def learn(folder: Path) -> None:
    """A report and a failure report came, and two messages were counted."""
    failure = read_failure(Message.parse(FAILURE))
    assert failure is not None
    tallies = Tallies(now=lambda: NOW)
    published = PolicyPublished("a.com", "reject", "reject", addresses=("r@a.com",))
    tallies.note(published, Row("192.0.2.1", "none", True, True, "a.com"), b"1")
    tallies.note(published, Row("192.0.2.2", "reject", False, False, "a.com"), b"2")
    write = tallies.changes()
    assert write is not None
    soft = SoftStore(folder / "soft.db")
    soft.add(MIGRATIONS)
    await soft.write(lambda db: _add_report(db, read_report(xml(ONE, TWO)), NOW))
    await soft.write(lambda db: _add_failure(db, failure, NOW))
    await soft.write(write)
    await soft.close()


def test_nothing_is_known_at_first(shell: Shell) -> None:
    assert shell.good("dmarc", "received").err == "No report has come yet.\n"
    assert shell.good("dmarc", "failures").err == "No report has come yet.\n"
    assert shell.good("dmarc", "pending", "--json").json == []
    assert shell("dmarc", "report", "a.com").code != 0


async def test_tables_of_what_came_and_of_what_will_go(shell: Shell, tmp_path: Path) -> None:
    good = lambda *words: asyncio.to_thread(shell.good, *words)  # noqa: E731 - the command has a loop of its own
    await good("dmarc", "pending")
    await learn(tmp_path / "data")
    lines = (await good("dmarc", "received", "--days", "3650")).out.splitlines()
    assert lines[0].split() == [
        "Domain",
        "Source",
        "Messages",
        "Passed",
        "DKIM",
        "SPF",
        "Put",
        "aside",
        "Rejected",
        "Last",
    ]
    assert lines[1].split()[:8] == ["palomar.test", "192.0.2.1", "5", "5", "5", "0", "0", "0"]
    for by in ("day", "domain", "report"):
        rows = (await good("dmarc", "received", "--by", by, "--days", "3650", "--json")).json
        assert [row["messages"] for row in rows] == [8]
    assert "You have won" in (await good("dmarc", "failures")).out
    assert (await good("dmarc", "pending")).out.splitlines()[1].split()[1:] == ["a.com", "2", "1", "2", "r@a.com"]
    assert len(read_report((await good("dmarc", "report", "a.com")).out.encode()).rows) == 2


def test_the_record_to_publish(shell: Shell) -> None:
    out = shell.good("domain", "dns", "palomar.test").out
    assert '_dmarc.palomar.test. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@palomar.test' in out
