"""MULTISEARCH (RFC 7377)."""

from __future__ import annotations

import re

import pytest

from tests.plugins.imap4.office import Client, Office

APPLE, PEAR = b"Subject: apple\r\n\r\nred\r\n", b"Subject: pear\r\n\r\ngreen\r\n"


async def filled(here: Office) -> Client:
    client = await here.login()
    for name in ("fruit", "fruit/old", "fruit/old/older", "Bäume"):
        await client.ok(f"CREATE {name}" if name.isascii() else "CREATE B&AOQ-ume")
    await here.put(PEAR, APPLE)
    await here.put(APPLE, mailbox="fruit")
    await here.put(PEAR, PEAR, APPLE, APPLE, mailbox="fruit/old")
    await here.put(APPLE, mailbox="fruit/old/older")
    await here.put(APPLE, mailbox="Bäume")
    return client


def told(lines: list[bytes]) -> dict[bytes, bytes]:
    """The results by mailbox."""
    found = {}
    for line in lines:
        match = re.fullmatch(rb'\* ESEARCH \(TAG "t\d+" MAILBOX (.+?) UIDVALIDITY \d+\) UID (.*)', line)
        assert match, line
        assert match[1] not in found
        found[match[1]] = match[2]
    return found


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ("mailboxes fruit", {b"fruit": b"ALL 1"}),
        ("mailboxes (fruit INBOX nowhere)", {b"INBOX": b"ALL 2", b"fruit": b"ALL 1"}),
        ("subtree fruit", {b"fruit": b"ALL 1", b"fruit/old": b"ALL 3:4", b"fruit/old/older": b"ALL 1"}),
        ("subtree-one fruit", {b"fruit": b"ALL 1", b"fruit/old": b"ALL 3:4"}),
        ("subtree fruit/old mailboxes fruit/old", {b"fruit/old": b"ALL 3:4", b"fruit/old/older": b"ALL 1"}),
        ("subscribed", {b"INBOX": b"ALL 2"}),
        (
            "personal",
            {
                b"INBOX": b"ALL 2", b"B&AOQ-ume": b"ALL 1", b"fruit": b"ALL 1", b"fruit/old": b"ALL 3:4",
                b"fruit/old/older": b"ALL 1",
            },
        ),
    ],
)  # fmt: skip
async def test_the_mailboxes_that_are_searched(here: Office, sources: str, found: dict[bytes, bytes]) -> None:
    client = await filled(here)
    assert told(await client.ok(f"ESEARCH IN ({sources}) SUBJECT apple")) == found
    assert told(await client.ok(f"ESEARCH IN ({sources}) TEXT nothing")) == {}


async def test_what_is_returned(here: Office) -> None:
    client = await filled(here)
    assert told(await client.ok("ESEARCH IN (subtree-one fruit) RETURN (MIN COUNT) ALL")) == {
        b"fruit": b"MIN 1 COUNT 1",
        b"fruit/old": b"MIN 1 COUNT 4",
    }
    assert told(await client.ok("ESEARCH IN (mailboxes fruit/old) TEXT green")) == {b"fruit/old": b"ALL 1:2"}
    lines = await client.ok("ESEARCH IN (mailboxes fruit/old) MODSEQ 1")
    assert lines[-1].endswith(b"UID ALL 1:4 MODSEQ 2")


async def test_the_selected_mailbox(here: Office) -> None:
    client = await filled(here)
    assert await client.completion("ESEARCH SUBJECT apple") == "BAD No mailbox is selected"
    assert await client.completion("ESEARCH IN (selected) SUBJECT apple") == "BAD No mailbox is selected"
    await client.ok("SELECT fruit/old")
    assert told(await client.ok("ESEARCH SUBJECT apple")) == {b"fruit/old": b"ALL 3:4"}
    assert told(await client.ok("ESEARCH 1:3")) == {b"fruit/old": b"ALL 1:3"}
    assert told(await client.ok("ESEARCH IN (selected mailboxes fruit) ALL")) == {
        b"fruit": b"ALL 1",
        b"fruit/old": b"ALL 1:4",
    }
    await client.ok("ESEARCH IN (selected) RETURN (SAVE) SUBJECT pear")
    assert await client.ok("FETCH $ UID") == [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 2)"]


async def test_what_is_refused(here: Office) -> None:
    client = await filled(here)
    for command, answer in (
        ("ESEARCH IN (personal) RETURN (SAVE) ALL", "BAD Only"),
        ("ESEARCH IN (personal) 1:3", "BAD Message numbers"),
        ("ESEARCH IN (personal) CHARSET X-NONE TEXT a", "NO [BADCHARSET"),
        ("ESEARCH IN (selected-delayed) ALL", "BAD"),
        ("ESEARCH IN (nothing) ALL", "BAD unknown kind"),
        ("ESEARCH IN () ALL", "BAD"),
        ("ESEARCH IN (personal (scope)) ALL", "BAD unknown scope"),
        ("ESEARCH IN (mailboxes ({})) ALL".format(" ".join(["a"] * 1001)), "BAD too many mailboxes"),
        ("ESEARCH IN ({}) ALL".format(" ".join(["personal"] * 101)), "BAD too many mailboxes"),
    ):
        assert (await client.completion(command)).startswith(answer)


async def test_a_mailbox_that_is_only_searched_is_not_opened(here: Office) -> None:
    client = await filled(here)
    await client.ok("ESEARCH IN (mailboxes fruit) ALL")
    assert b"* 1 RECENT" in await client.ok("SELECT fruit")
    await client.ok("ENABLE UIDONLY")
    assert told(await client.ok("ESEARCH IN (mailboxes INBOX) SUBJECT apple")) == {b"INBOX": b"ALL 2"}
