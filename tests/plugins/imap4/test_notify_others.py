"""NOTIFY and the mailboxes of others: by the rights that the account has at the moment (RFC 5465 section 5.9)."""

from __future__ import annotations

from appliance.store import sharing
from appliance.store.mailboxes import create_mailbox, delete_mailbox, rename_mailbox, require_mailbox, set_subscribed
from appliance.store.messages import set_flags
from appliance.store.model import EVERYBODY
from tests.plugins.imap4.office import ANA, LUIS, Client, Office

MESSAGE = b"Subject: x\r\n\r\n"
BOTH = "MessageNew MessageExpunge"
PREFIX = f"Other Users/{ANA}/"
TREE = f'(subtree "Other Users" ({BOTH} FlagChange MailboxName MailboxMetadataChange))'


def written(name: str) -> bytes:
    return f'"{PREFIX}{name}"'.encode()


def account(here: Office, name: str = ANA) -> int:
    found = here.store.directory.account(name)
    assert found is not None
    return found.id


async def share(here: Office, name: str, rights: str, whom: str = LUIS) -> None:
    ana = account(here)
    await here.store.write(lambda db: sharing.share(db, require_mailbox(db, ana, name), whom, rights))


async def make(here: Office, *names: str) -> None:
    ana = account(here)
    for name in names:
        await here.store.write(lambda db, name=name: create_mailbox(db, ana, name))  # type: ignore[misc]


async def luis(here: Office, groups: str = TREE) -> Client:
    client = await here.login(account=LUIS)
    await client.ok(f"NOTIFY SET {groups}")
    return client


async def nothing_told(client: Client) -> bool:
    return len(await client.ok("CAPABILITY")) == 1


async def test_messages_are_told_where_they_may_be_read(here: Office) -> None:
    await make(here, "plans", "secret")
    await share(here, "plans", "lr")
    client = await luis(here)
    await here.put(MESSAGE, mailbox="secret")
    await here.put(MESSAGE)
    await here.put(MESSAGE, mailbox="plans")
    line = await client.line()
    assert line.startswith(b"* STATUS " + written("plans") + b" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")
    assert line.endswith(b" UNSEEN 1)")
    plans = here.mailbox_id("plans")
    await here.store.write(lambda db: set_flags(db, plans, [1], add=1))
    assert (await client.line()).endswith(b" UNSEEN 0)")
    assert await nothing_told(client)


async def test_one_that_may_only_be_looked_up_is_told_as_no_access(here: Office) -> None:
    await make(here, "plans")
    await share(here, "plans", "l")
    client = await here.login(account=LUIS)
    no_access = b'* LIST (\\NoAccess) "/" ' + written("plans")
    assert await client.ok(f"NOTIFY SET {TREE}") == [no_access]
    assert await client.ok(f"NOTIFY SET STATUS {TREE}") == [no_access]
    await here.put(MESSAGE, mailbox="plans")
    assert await nothing_told(client)
    await share(here, "plans", "lr")
    await here.put(MESSAGE, mailbox="plans")
    assert (await client.line()).startswith(b"* STATUS " + written("plans") + b" (MESSAGES 2 ")
    assert len(await client.ok(f"NOTIFY SET STATUS {TREE}")) == 1


async def test_a_right_that_comes_or_goes_is_a_mailbox_that_does(here: Office) -> None:
    await make(here, "plans")
    client = await luis(here)
    await share(here, "plans", "lr")
    assert await client.line() == b'* LIST (\\HasNoChildren) "/" ' + written("plans")
    assert (await client.line()).startswith(b"* STATUS " + written("plans"))
    await share(here, "plans", "r")
    assert await client.line() == b'* LIST (\\NonExistent \\HasNoChildren \\NoAccess) "/" ' + written("plans")
    await here.put(MESSAGE, mailbox="plans")
    assert await nothing_told(client)
    await share(here, "plans", "lr", "anyone")
    assert await client.line() == b'* LIST (\\HasNoChildren) "/" ' + written("plans")
    assert (await client.line()).startswith(b"* STATUS " + written("plans") + b" (MESSAGES 1 ")


async def test_names_are_those_that_the_account_knows(here: Office) -> None:
    await make(here, "plans", "plans/old", "secret")
    await share(here, "plans", "lr")
    await share(here, "plans/old", "lr")
    ana = account(here)
    client = await luis(here, '(subtree "Other Users" (MailboxName))')
    await here.store.write(lambda db: rename_mailbox(db, ana, "secret", "hidden"))
    assert await nothing_told(client)
    await here.store.write(lambda db: rename_mailbox(db, ana, "plans", "ideas"))
    old = b' ("OLDNAME" (' + written("plans") + b"))"
    assert await client.line() == b'* LIST (\\HasChildren) "/" ' + written("ideas") + old
    assert await nothing_told(client)  # the child follows
    await here.store.write(lambda db: delete_mailbox(db, ana, "ideas/old"))
    assert await client.line() == b'* LIST (\\NonExistent \\HasNoChildren \\NoAccess) "/" ' + written("ideas/old")


async def test_annotations_of_others_are_told_if_they_may_be_read(here: Office) -> None:
    await make(here, "plans", "secret")
    await share(here, "plans", "lr")
    client, ana = await luis(here), await here.login(account=ANA)
    await ana.ok('SETMETADATA secret (/shared/comment "x")')
    await ana.ok('SETMETADATA plans (/private/comment "x")')
    await ana.ok('SETMETADATA plans (/shared/comment "x")')
    assert await client.line() == b"* METADATA " + written("plans") + b" /shared/comment"


async def test_subscribed_mailboxes_of_others(here: Office) -> None:
    await make(here, "plans", "more")
    await share(here, "plans", "lr")
    await share(here, "more", "lr")
    me = account(here, LUIS)
    await here.store.write(lambda db: set_subscribed(db, me, f"{PREFIX}plans", subscribed=True))
    client = await luis(here, f"(subscribed ({BOTH}))")
    await here.put(MESSAGE, mailbox="more")
    await here.put(MESSAGE, mailbox="plans")
    assert (await client.line()).startswith(b"* STATUS " + written("plans"))


async def test_personal_mailboxes_are_none_of_others(here: Office) -> None:
    await make(here, "plans")
    await share(here, "plans", "lr")
    client = await luis(here, f"(personal ({BOTH} MailboxName)) (subscribed (SubscriptionChange))")
    await here.put(MESSAGE, mailbox="plans")
    await make(here, "plans/sub")
    await share(here, "plans/sub", "lr")
    assert await nothing_told(client)


async def test_who_listens_to_whom(here: Office) -> None:
    await make(here, "plans")
    await share(here, "plans", "lr")
    listened = here.store.changes._of_accounts
    plain = await luis(here, f"(personal ({BOTH}))")
    assert set(listened) == {account(here, LUIS)}, "who wants nothing of others does not pay for them"
    client = await luis(here)
    assert set(listened) == {EVERYBODY, account(here), account(here, LUIS)}
    await share(here, "plans", "")
    assert (await client.line()).startswith(b"* LIST (\\NonExistent ")
    assert set(listened) == {EVERYBODY, account(here, LUIS)}
    await client.ok("NOTIFY NONE")
    await plain.ok("NOTIFY NONE")
    assert listened == {}
