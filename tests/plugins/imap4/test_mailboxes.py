"""CREATE to STATUS, and LIST in all its forms."""

from __future__ import annotations

import pytest

from plugins.imap4.protocol_list import Pattern, Patterns
from tests.plugins.imap4.office import ANA, Client, Office

SPECIAL = {
    b"Archive": b"\\Archive",
    b"Drafts": b"\\Drafts",
    b"Junk": b"\\Junk",
    b"Sent": b"\\Sent",
    b"Trash": b"\\Trash",
}


async def names(client: Client, command: str) -> list[str]:
    return [line.partition(b'"/" ')[2].decode() for line in await client.ok(command)]


async def test_a_new_account_has_its_special_mailboxes(here: Office) -> None:
    client = await here.login()
    lines = await client.ok('LIST "" "*"')
    assert lines[0] == b'* LIST (\\HasNoChildren) "/" INBOX'
    assert lines[1:] == [b'* LIST (\\HasNoChildren %b) "/" %b' % (use, name) for name, use in sorted(SPECIAL.items())]
    assert await names(client, 'LSUB "" *') == ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"]
    assert await client.ok('LIST "" ""') == [b'* LIST (\\Noselect) "/" ""']


async def test_create_makes_the_levels_above(here: Office) -> None:
    client = await here.login()
    await client.ok("CREATE work/2024/march")
    lines = await client.ok('LIST "" "work*"')
    assert lines == [
        b'* LIST (\\Noselect \\HasChildren) "/" work',
        b'* LIST (\\Noselect \\HasChildren) "/" work/2024',
        b'* LIST (\\HasNoChildren) "/" work/2024/march',
    ]
    assert await names(client, "LIST work/ %") == ["work/2024"]
    assert await client.completion("SELECT work") == "NO [CANNOT] This is only a place for mailboxes below it"
    assert (
        await client.completion("CREATE work/2024/march") == "NO [ALREADYEXISTS] mailbox work/2024/march exists already"
    )
    await client.ok("CREATE work/")
    assert (await client.ok("LIST {0+}\r\n work"))[0] == b'* LIST (\\HasChildren) "/" work'


@pytest.mark.parametrize(
    "name", ['""', "a//b", "/a", '"a%b"', '"a*b"', "inbox", "x" * 600, "a/" * 30 + "b", '"a&AAo-b"']
)
async def test_names_that_cannot_be(here: Office, name: str) -> None:
    client = await here.login()
    assert (await client.completion(f"CREATE {name}"))[:2] in {"NO", "BA"}


async def test_create_with_a_special_use(here: Office) -> None:
    client = await here.login()
    await client.ok("CREATE Spam (USE (\\junk))")
    assert await client.ok('LIST "" Spam') == [b'* LIST (\\HasNoChildren \\Junk) "/" Spam']
    for uses in ("\\Nonsense", "\\Sent \\Junk"):
        assert (await client.completion(f"CREATE x (USE ({uses}))")).startswith("NO [USEATTR]")
    assert await client.completion("CREATE x (FOO (\\Sent))") == "BAD expected USE"


async def test_unicode_names(here: Office) -> None:
    client = await here.login()
    await client.ok('CREATE "Entw&APw-rfe/&U,BTFw-"')
    assert await names(client, 'LIST "" "Entw*"') == ["Entw&APw-rfe", "Entw&APw-rfe/&U,BTFw-"]
    assert await names(client, 'LIST "" "Entw&APw-rfe/%"') == ["Entw&APw-rfe/&U,BTFw-"]
    assert here.mailbox_id("Entwürfe/台北")


async def test_delete_keeps_children_and_subscriptions(here: Office) -> None:
    client = await here.login()
    for command in ("CREATE a", "CREATE a/b", "SUBSCRIBE a", "SUBSCRIBE a/b", "DELETE a"):
        await client.ok(command)
    assert await client.ok("LIST {0+}\r\n a*") == [
        b'* LIST (\\Noselect \\HasChildren) "/" a',
        b'* LIST (\\HasNoChildren) "/" a/b',
    ]
    assert (await client.completion("DELETE a"))[:3] == "NO "
    await client.ok("DELETE a/b")
    assert await names(client, 'LSUB "" a*') == ["a", "a/b"]
    assert await client.completion("DELETE nope") == "NO [NONEXISTENT] no mailbox nope"
    assert (await client.completion("DELETE inbox"))[:3] == "NO "
    await client.ok("UNSUBSCRIBE a/b")
    assert await names(client, 'LSUB "" a*') == ["a"]


async def test_rename_moves_children_and_renaming_inbox_moves_messages(here: Office) -> None:
    client = await here.login()
    await here.put(b"Subject: one\r\n\r\n")
    for command in ("CREATE a/b", "RENAME a z/y", "RENAME inbox old"):
        await client.ok(command)
    assert await names(client, 'LIST "" "z*"') == ["z", "z/y", "z/y/b"]
    assert await client.ok("STATUS old (MESSAGES)") == [b"* STATUS old (MESSAGES 1)"]
    assert await client.ok("STATUS INBOX (MESSAGES UIDNEXT)") == [b"* STATUS INBOX (MESSAGES 0 UIDNEXT 2)"]
    assert await client.completion("RENAME old z/y") == "NO [ALREADYEXISTS] mailbox z/y exists already"
    assert await client.completion("RENAME nope x") == "NO [NONEXISTENT] no mailbox nope"


async def test_lsub_tells_of_levels_that_a_percent_sign_cuts_off(here: Office) -> None:
    client = await here.login()
    await client.ok("SUBSCRIBE far/away/box")
    assert b'* LSUB (\\Noselect) "/" far' in await client.ok('LSUB "" %')
    assert await client.ok('LSUB "" far/%') == [b'* LSUB (\\Noselect) "/" far/away']
    assert await client.ok('LSUB "" *y/box') == [b'* LSUB () "/" far/away/box']


async def test_extended_list(here: Office) -> None:
    client = await here.login()
    for command in ("CREATE foo/bar", "SUBSCRIBE foo/bar", "SUBSCRIBE gone", "UNSUBSCRIBE Junk"):
        await client.ok(command)
    assert await client.ok('LIST (SPECIAL-USE) "" "*"') == [
        b'* LIST (\\HasNoChildren %b) "/" %b' % (use, name) for name, use in sorted(SPECIAL.items())
    ]
    assert await client.ok('LIST "" ("foo%" "gon*") RETURN (SUBSCRIBED)') == [
        b'* LIST (\\Noselect \\HasChildren) "/" foo',
    ]
    assert await client.ok('LIST (SUBSCRIBED) "" ("foo*" "go*")') == [
        b'* LIST (\\HasNoChildren \\Subscribed) "/" foo/bar',
        b'* LIST (\\NonExistent \\HasNoChildren \\Subscribed) "/" gone',
    ]
    assert await client.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" "f%"') == [
        b'* LIST (\\Noselect \\HasChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))',
    ]
    assert await names(client, 'LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE CHILDREN)') == [
        "INBOX", "Archive", "Drafts", "Sent", "Trash", "foo/bar", "gone",
    ]  # fmt: skip


async def test_list_with_status(here: Office) -> None:
    client = await here.login()
    await here.put(b"Subject: one\r\n\r\n", flags=1)
    await here.put(b"Subject: two\r\n\r\n")
    await client.ok("CREATE a/b")
    assert await client.ok('LIST "" ("inb%" a "a/%") RETURN (STATUS (MESSAGES UNSEEN))') == [
        b'* LIST (\\HasNoChildren) "/" INBOX',
        b"* STATUS INBOX (MESSAGES 2 UNSEEN 1)",
        b'* LIST (\\Noselect \\HasChildren) "/" a',
        b'* LIST (\\HasNoChildren) "/" a/b',
        b"* STATUS a/b (MESSAGES 0 UNSEEN 0)",
    ]


async def test_status(here: Office) -> None:
    client = await here.login()
    await here.put(b"Subject: one\r\n\r\nText\r\n", b"Subject: two\r\n\r\n")
    (line,) = await client.ok("STATUS inbox (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE)")
    validity = line.split()[line.split().index(b"UIDVALIDITY") + 1]
    assert line == b"* STATUS INBOX (MESSAGES 2 RECENT 2 UIDNEXT 3 UIDVALIDITY %b UNSEEN 2 SIZE 38)" % validity
    await client.ok("SELECT INBOX")
    assert await client.ok("STATUS INBOX (RECENT)") == [b"* STATUS INBOX (RECENT 0)"]
    assert await client.completion("STATUS nope (RECENT)") == "NO [NONEXISTENT] There is no such mailbox"


async def test_deleting_the_mailbox_one_has_selected_leaves_it(here: Office) -> None:
    client = await here.login()
    await client.ok("CREATE a")
    await client.ok("SELECT a")
    await client.ok("DELETE a")
    assert (await client.completion("FETCH 1 FLAGS")).startswith("BAD")
    await client.ok("SELECT INBOX")


async def test_accounts_do_not_see_each_other(here: Office) -> None:
    ana, luis = await here.login(), await here.login(account="luis@palomar.test")
    await ana.ok("CREATE mine")
    assert await luis.ok('LIST "" mine') == []
    assert await luis.completion("SELECT mine") == "NO [NONEXISTENT] There is no such mailbox"
    assert here.store.directory.account(ANA) is not None


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("*", ["", "a", "a/b"], []),
        ("%", ["", "a"], ["a/b", "/"]),
        ("a%", ["a", "ab"], ["a/b", "b"]),
        ("%/%", ["a/b", "/"], ["a", "a/b/c"]),
        ("a*%c", ["ac", "a/b/c", "a/bc"], ["a/b", "a/c/d"]),
        ("%*", ["a/b", ""], []),
        ("a/*/d", ["a//d", "a/b/c/d"], ["a/d"]),
        ("*a%b", ["a/xab", "ab", "xaxb"], ["a/b", "b"]),
        ("a.b[c]", ["a.b[c]"], ["aXb[c]"]),
    ],
)
def test_patterns(pattern: str, fitting: list[str], other: list[str]) -> None:
    made = Pattern(pattern)
    assert [name for name in fitting if not made.matches(name)] == []
    assert [name for name in other if made.matches(name)] == []


def test_inbox_fits_in_any_case_and_no_pattern_takes_long() -> None:
    assert Patterns(("inb%",)).match("INBOX")
    assert not Patterns(("work%",)).match("WORK")
    assert not Pattern("*a" * 400 + "b").matches("a" * 900)
