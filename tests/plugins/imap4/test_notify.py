"""NOTIFY (RFC 5465): events of the selected mailbox and of others, told at any time."""

from __future__ import annotations

import asyncio
import zlib

import pytest

from appliance.store.mailboxes import create_mailbox, delete_mailbox, rename_mailbox, set_subscribed
from appliance.store.messages import expunge, set_flags
from plugins.imap4 import notify, selected
from tests.plugins.imap4.office import ANA, LUIS, Client, Office

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 4)]
BOTH = "MessageNew MessageExpunge"


async def watching(here: Office, groups: str, mailbox: str = "INBOX", *, enable: str = "") -> Client:
    client = await here.login()
    if enable:
        await client.ok(f"ENABLE {enable}")
    if mailbox:
        await client.ok(f"SELECT {mailbox}")
    await client.ok(f"NOTIFY SET {groups}")
    return client


async def nothing_told(client: Client) -> bool:
    lines = await client.ok("CAPABILITY")
    return len(lines) == 1 and lines[0].startswith(b"* CAPABILITY ")


async def account(here: Office, name: str = ANA) -> int:
    found = here.store.directory.account(name)
    assert found is not None
    return found.id


# ── the selected mailbox ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_all_is_told_at_once_without_any_command(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await watching(here, f"(selected ({BOTH} FlagChange))")
    inbox = here.mailbox_id()
    await here.put(MESSAGES[0])
    assert [await client.line() for _ in range(2)] == [b"* 4 EXISTS", b"* 4 RECENT"]
    await here.store.write(lambda db: set_flags(db, inbox, [2], add=1))
    assert await client.line() == b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen))"
    await here.store.write(lambda db: expunge(db, inbox, [1, 3], deleted_only=False))
    assert [await client.line() for _ in range(3)] == [b"* 3 EXPUNGE", b"* 1 EXPUNGE", b"* 2 RECENT"]
    assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 2 4"]


async def test_delayed_expunges_wait_for_a_command_that_permits_them(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await watching(here, f"(selected-delayed ({BOTH} FlagChange))")
    inbox = here.mailbox_id()
    await here.store.write(lambda db: expunge(db, inbox, [1], deleted_only=False))
    await here.put(MESSAGES[0])
    assert [await client.line() for _ in range(2)] == [b"* 4 EXISTS", b"* 4 RECENT"]
    assert await client.ok("SEARCH SUBJECT 3") == [b"* SEARCH 3"]
    assert await client.ok("FETCH 3 UID") == [b"* 3 FETCH (UID 3)"]
    assert await client.ok("NOOP") == [b"* 1 EXPUNGE", b"* 3 RECENT"]
    await here.store.write(lambda db: expunge(db, inbox, [2], deleted_only=False))
    client.send(b"x IDLE\r\n")
    assert [await client.line() for _ in range(3)] == [b"+ idling", b"* 1 EXPUNGE", b"* 2 RECENT"]


async def test_what_a_command_with_numbers_has_held_back_follows_it(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await watching(here, f"(selected ({BOTH}))")
    inbox = here.mailbox_id()
    client.send(b"x FETCH 1:3 (UID BODY.PEEK[])\r\n")
    await here.store.write(lambda db: expunge(db, inbox, [1], deleted_only=False))
    lines, _ = await client.until(b"x")
    if b"* 1 EXPUNGE" not in lines:
        assert await client.line() == b"* 1 EXPUNGE"
        lines.append(b"* 1 EXPUNGE")
    numbers = [line.split()[1] for line in lines if b"FETCH" in line]
    assert numbers == sorted(numbers)


async def test_new_messages_are_told_in_detail(here: Office) -> None:
    items = "uid flags body.peek[header.fields (subject)] body[text]"
    client = await watching(here, f"(selected (MessageNew ({items}) MessageExpunge FlagChange))")
    await here.put(b"Subject: one\r\nFrom: a\r\n\r\ntext", b"Subject: two\r\n\r\n")
    assert [await client.line() for _ in range(2)] == [b"* 2 EXISTS", b"* 2 RECENT"]
    answer = (
        b"* %d FETCH (UID %d FLAGS (\\Recent) BODY[HEADER.FIELDS (subject)] {16}\r\nSubject: %b\r\n\r\n BODY[TEXT] %b)"
    )
    assert await client.line() == answer % (1, 1, b"one", b"{4}\r\ntext")
    assert await client.line() == answer % (2, 2, b"two", b"{0}\r\n")
    assert await client.ok("UID SEARCH UNSEEN") == [b"* SEARCH 1 2"], "telling sets nothing"
    lines = await client.ok(b"APPEND INBOX {14+}\r\nSubject: 3\r\n\r\n")
    assert lines == [b"* 3 EXISTS", b"* 3 RECENT"], "what the client has added itself it knows"
    await client.ok("SELECT INBOX")
    await here.put(b"Subject: fou\r\n\r\n")
    assert (await client.line(), await client.line()) == (b"* 4 EXISTS", b"* 1 RECENT")
    assert (await client.line()).startswith(b"* 4 FETCH (UID 4 FLAGS ")


async def test_details_carry_uids_and_modseqs_as_the_client_has_enabled_them(here: Office) -> None:
    groups = f"(selected (MessageNew (flags) {BOTH[11:]}))"
    client = await watching(here, groups, enable="UIDONLY QRESYNC IMAP4rev2")
    await here.put(MESSAGES[0])
    assert await client.line() == b"* 1 EXISTS"
    assert await client.line() == b"* 1 UIDFETCH (FLAGS () MODSEQ (2))"
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [1], deleted_only=False))
    assert await client.line() == b"* VANISHED 1"


async def test_flags_that_were_not_wanted_are_recalled(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await watching(here, f"(selected ({BOTH}))", enable="QRESYNC")
    inbox = here.mailbox_id()
    await here.store.write(lambda db: set_flags(db, inbox, [2], add=1))
    unchanged = b"* OK [HIGHESTMODSEQ 2] Highest"
    assert await client.line() == unchanged
    lines = await client.ok("UID FETCH 2 MODSEQ")
    assert lines[-1] == unchanged, "no modseq that it is told may make it miss the flags"
    await here.put(MESSAGES[0])
    assert (await client.line(), await client.line()) == (b"* 4 EXISTS", b"* 4 RECENT")
    assert await client.line() == b"* OK [HIGHESTMODSEQ 2] Highest", "up to where the client knows everything"
    lines = await client.ok(f"NOTIFY SET (selected ({BOTH} FlagChange))")
    assert lines == [
        b"* 2 FETCH (UID 2 FLAGS (\\Recent \\Seen) MODSEQ (3))",
        b"* 4 FETCH (UID 4 FLAGS (\\Recent) MODSEQ (4))",
    ]
    await here.store.write(lambda db: set_flags(db, inbox, [3], add=1))
    assert await client.line() == b"* 3 FETCH (UID 3 FLAGS (\\Recent \\Seen) MODSEQ (5))"


@pytest.mark.parametrize(
    "command", ["NOTIFY NONE", "NOTIFY SET (selected NONE)", f"NOTIFY SET (mailboxes Sent ({BOTH}))"]
)
async def test_a_client_that_wants_no_events_is_left_alone(here: Office, command: str) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    await client.ok(command)
    inbox = here.mailbox_id()
    await here.put(MESSAGES[0])
    await here.store.write(lambda db: expunge(db, inbox, [1], deleted_only=False))
    assert await client.ok("NOOP") == []
    client.send(b"x IDLE\r\nDONE\r\n")
    assert (await client.line(), await client.line()) == (b"+ idling", b"x OK IDLE completed")
    # Its own changes are told, and then all: its numbers would mean other messages else.
    await client.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)")
    assert b"* 1 EXPUNGE" in await client.ok("EXPUNGE")
    assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 3 4"]
    await here.put(MESSAGES[0])
    assert await client.ok(f"NOTIFY SET (selected ({BOTH}))") == [b"* 3 EXISTS", b"* 3 RECENT"]


async def test_too_many_new_messages_end_it(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "MAX_ARRIVED", 2)
    client = await watching(here, "(selected (MessageNew (uid) MessageExpunge))")
    await here.put(*MESSAGES)
    lines = [await client.line() for _ in range(3)]
    assert lines[:2] == [b"* 3 EXISTS", b"* 3 RECENT"]
    assert lines[2].startswith(b"* OK [NOTIFICATIONOVERFLOW] ")
    await here.put(*MESSAGES)
    assert await client.ok("NOOP") == []


async def test_arrivals_after_a_long_silence_are_bounded(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selected, "MAX_PENDING", 5)
    monkeypatch.setattr(selected, "MAX_ARRIVED", 3)
    client = await watching(here, "(selected (MessageNew (uid) MessageExpunge))")
    await here.put(*MESSAGES * 10)
    while b"EXISTS" not in (line := await client.line()):
        assert b"RECENT" in line
    assert await client.ok("UID SEARCH 30") != []


# ── other mailboxes ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_messages_of_other_mailboxes_are_told_by_status(here: Office) -> None:
    client = await watching(here, f"(selected ({BOTH})) (personal ({BOTH}))")
    await here.put(*MESSAGES, mailbox="Sent")
    sent = here.mailbox_id("Sent")
    validity = here.store.peek(
        lambda db: db.execute("SELECT uidvalidity FROM mailbox WHERE id = ?", (sent,)).fetchone()
    )[0]
    assert await client.line() == b"* STATUS Sent (MESSAGES 3 UIDNEXT 4 UIDVALIDITY %d)" % validity
    await here.store.write(lambda db: expunge(db, sent, [1], deleted_only=False))
    assert await client.line() == b"* STATUS Sent (MESSAGES 2 UIDNEXT 4 UIDVALIDITY %d)" % validity
    await here.store.write(lambda db: set_flags(db, sent, [2], add=1))
    assert await nothing_told(client)
    await client.ok("UID SEARCH ALL")
    await here.put(MESSAGES[0])
    assert (await client.line(), await client.line()) == (b"* 1 EXISTS", b"* 1 RECENT"), "the selected one by its own"


async def test_flags_of_other_mailboxes_are_told_by_modseq_and_unseen(here: Office) -> None:
    await here.put(*MESSAGES, mailbox="Sent")
    sent = here.mailbox_id("Sent")
    plain = await watching(here, f"(mailboxes Sent ({BOTH} FlagChange))", "")
    knowing = await watching(here, f"(mailboxes Sent ({BOTH} FlagChange))", "", enable="CONDSTORE")
    await here.store.write(lambda db: set_flags(db, sent, [1], add=1))
    assert (await plain.line()).endswith(b" UNSEEN 2)")
    assert (await knowing.line()).endswith(b" UNSEEN 2 HIGHESTMODSEQ 3)")


async def test_what_the_client_did_itself_is_no_news(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await watching(
        here, f"(personal ({BOTH} MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))"
    )
    await client.ok("COPY 1 Sent")
    await client.ok(b"APPEND Sent {14+}\r\nSubject: 3\r\n\r\n")
    await client.ok("CREATE mine")
    await client.ok("RENAME mine ours")
    await client.ok("SUBSCRIBE ours")
    await client.ok('SETMETADATA ours (/private/comment "x")')
    await client.ok('SETMETADATA "" (/private/comment "x")')
    await client.ok("DELETE ours")
    assert await nothing_told(client)


async def test_names_are_told_by_list(here: Office) -> None:
    client = await watching(here, "(personal (MailboxName))", "")
    ana = await account(here)
    await here.store.write(lambda db: create_mailbox(db, ana, "Lists/Grüße"))
    assert [await client.line() for _ in range(2)] == [
        b'* LIST (\\Noselect \\HasChildren) "/" Lists',
        b'* LIST (\\HasNoChildren) "/" Lists/Gr&APwA3w-e',
    ]
    await here.store.write(lambda db: rename_mailbox(db, ana, "Lists/Grüße", "Lists/b"))
    assert await client.line() == b'* LIST (\\HasNoChildren) "/" Lists/b ("OLDNAME" (Lists/Gr&APwA3w-e))'
    await here.store.write(lambda db: delete_mailbox(db, ana, "Lists/b"))
    assert [await client.line() for _ in range(2)] == [
        b'* LIST (\\Noselect \\HasNoChildren) "/" Lists',
        b'* LIST (\\NonExistent \\HasNoChildren) "/" Lists/b',
    ]
    await here.store.write(lambda db: set_subscribed(db, ana, "Sent", subscribed=False))
    assert await nothing_told(client)


async def test_subscriptions_are_told_by_list(here: Office) -> None:
    client = await watching(here, "(subscribed (SubscriptionChange))", "", enable="IMAP4rev2")
    ana = await account(here)
    await here.store.write(lambda db: set_subscribed(db, ana, "Sent", subscribed=False))
    assert await client.line() == b'* LIST (\\HasNoChildren \\Sent) "/" Sent'
    await here.store.write(lambda db: set_subscribed(db, ana, "Sent", subscribed=True))
    assert await client.line() == b'* LIST (\\HasNoChildren \\Subscribed \\Sent) "/" Sent'
    await here.store.write(lambda db: set_subscribed(db, ana, "Ärger", subscribed=True))
    assert await client.line() == '* LIST (\\NonExistent \\HasNoChildren \\Subscribed) "/" "Ärger"'.encode()


async def test_annotations_are_told_by_their_names(here: Office) -> None:
    client = await watching(here, "(mailboxes INBOX (MailboxMetadataChange)) (personal (ServerMetadataChange))", "")
    other = await here.login()
    await other.ok('SETMETADATA INBOX (/private/comment "x" /shared/comment NIL)')
    assert await client.line() == b"* METADATA INBOX /private/comment /shared/comment"
    await other.ok('SETMETADATA Sent (/private/comment "x")')
    await other.ok('SETMETADATA "" (/private/vendor/x "y")')
    assert await client.line() == b'* METADATA "" /private/vendor/x'


async def test_sources_choose_by_name(here: Office) -> None:
    ana = await account(here)
    for name in ("a/b/c", "d", "e"):
        await here.store.write(lambda db, name=name: create_mailbox(db, ana, name))  # type: ignore[misc]
    groups = f"(subtree a ({BOTH})) (subtree-one d ({BOTH})) (mailboxes (nowhere later) ({BOTH}))"
    client = await watching(here, groups, "")
    await here.put(MESSAGES[0], mailbox="e")
    await here.put(MESSAGES[0], mailbox="a/b/c")
    assert (await client.line()).startswith(b"* STATUS a/b/c ")
    await here.put(MESSAGES[0], mailbox="d")
    assert (await client.line()).startswith(b"* STATUS d ")
    await here.store.write(lambda db: create_mailbox(db, ana, "later"))
    assert (await client.line()).startswith(b"* STATUS later (MESSAGES 0 UIDNEXT 1 UIDVALIDITY ")


async def test_the_state_of_all_that_are_watched_is_told_at_first(here: Office) -> None:
    await here.put(*MESSAGES)
    client = await here.login("INBOX")
    lines = await client.ok(
        f"NOTIFY SET STATUS (selected ({BOTH})) (mailboxes (INBOX Sent Trash nowhere) ({BOTH} FlagChange))"
    )
    assert [line.split()[2] for line in lines] == [b"Sent", b"Trash"], "the selected one is known"
    for line in lines:
        words = line.replace(b"(", b"").replace(b")", b"").split()[3::2]
        assert set(words) >= {b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"HIGHESTMODSEQ"}


async def test_unknown_events_are_refused_with_those_that_are_known(here: Office) -> None:
    client = await watching(here, f"(mailboxes Sent ({BOTH}))", "")
    completion = await client.completion(f"NOTIFY SET (personal ({BOTH} AnnotationChange))")
    assert completion.startswith("NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName ")
    await here.put(MESSAGES[0], mailbox="Sent")
    assert (await client.line()).startswith(b"* STATUS Sent "), "the wishes before stand"


async def test_what_waits_is_bounded(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "MAX_WAITING", 3)
    ana = await account(here)
    client = await watching(here, f"(personal ({BOTH} MailboxName))")

    def many(db: object) -> None:
        for number in range(4):
            create_mailbox(db, ana, f"m{number}")  # type: ignore[arg-type]

    await here.store.write(many)
    assert (await client.line()).startswith(b"* OK [NOTIFICATIONOVERFLOW] ")
    await here.put(MESSAGES[0], mailbox="Sent")
    await here.put(MESSAGES[0])
    assert await client.ok("NOOP") == [], "as if NOTIFY NONE had come"
    await client.ok(f"NOTIFY SET (personal ({BOTH}))")
    await here.put(MESSAGES[0], mailbox="Sent")
    assert (await client.line()).startswith(b"* STATUS Sent ")


async def test_others_are_not_told_of(here: Office) -> None:
    client = await watching(here, f"(personal ({BOTH} MailboxName MailboxMetadataChange))", "")
    luis = await account(here, LUIS)
    await here.put(MESSAGES[0], account=LUIS)
    await here.store.write(lambda db: create_mailbox(db, luis, "secret"))
    assert await nothing_told(client)


async def test_unauthenticate_ends_it(here: Office) -> None:
    client = await watching(here, f"(selected ({BOTH})) (personal ({BOTH} MailboxName))")
    await client.ok("UNAUTHENTICATE")
    await client.ok(f"LOGIN {LUIS} palomar")
    await client.ok("SELECT INBOX")
    await here.put(*MESSAGES)
    await here.put(*MESSAGES, mailbox="Sent", account=LUIS)
    await here.put(*MESSAGES, account=LUIS)
    assert await client.ok("NOOP") == [b"* 3 EXISTS", b"* 3 RECENT"], "as without NOTIFY: with a command, and here only"
    assert here.store.changes._of_accounts == {}


async def test_sessions_leave_nothing_behind(here: Office) -> None:
    clients = [await watching(here, f"(personal ({BOTH}))") for _ in range(3)]
    assert sum(map(len, here.store.changes._of_accounts.values())) == 3
    for client in clients:
        await client.ok("NOTIFY NONE")
    assert here.store.changes._of_accounts == {}


async def test_it_goes_through_compression(here: Office) -> None:
    client = await watching(here, f"(personal ({BOTH}))", "")
    await client.ok("COMPRESS DEFLATE")
    await here.put(MESSAGES[0], mailbox="Sent")
    inflate = zlib.decompressobj(-15)
    async with asyncio.timeout(60):
        said = b""
        while not said.endswith(b"\r\n"):
            said += inflate.decompress(await client.reader.read(4096))
    assert said.startswith(b"* STATUS Sent (MESSAGES 1 ")


async def test_in_idle_the_same_is_told(here: Office) -> None:
    client = await watching(here, f"(selected ({BOTH})) (mailboxes Sent ({BOTH}))")
    client.send(b"x IDLE\r\n")
    assert await client.line() == b"+ idling"
    await here.put(MESSAGES[0], mailbox="Sent")
    assert (await client.line()).startswith(b"* STATUS Sent ")
    await here.put(MESSAGES[0])
    assert (await client.line(), await client.line()) == (b"* 1 EXISTS", b"* 1 RECENT")
    await here.store.write(lambda db: set_flags(db, here.mailbox_id(), [1], add=1))
    client.send(b"DONE\r\n")
    assert await client.line() == b"x OK IDLE completed"


async def test_news_come_between_a_command_and_its_literal_without_harm(here: Office) -> None:
    client = await watching(here, f"(selected ({BOTH}))")
    client.send(b"x SEARCH SUBJECT {1}\r\n")
    assert await client.line() == b"+ OK"
    await here.put(MESSAGES[0])
    assert (await client.line(), await client.line()) == (b"* 1 EXISTS", b"* 1 RECENT")
    client.send(b"1\r\n")
    assert await client.until(b"x") == ([b"* SEARCH 1"], b"OK SEARCH completed")
