"""SELECT, EXAMINE, CLOSE, UNSELECT."""

from tests.plugins.imap4.office import Office

MESSAGES = [b"Subject: %d\r\n\r\n" % n for n in range(1, 4)]


async def test_what_select_answers(here: Office) -> None:
    await here.put(MESSAGES[0], flags=1)
    await here.put(*MESSAGES[1:])
    client = await here.login()
    lines, completion = await client.command("SELECT inbox")
    validity = lines[5].split()[3].rstrip(b"]")
    assert lines == [
        b"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft)",
        b"* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft \\*)] Flags permitted",
        b"* 3 EXISTS",
        b"* 3 RECENT",
        b"* OK [UNSEEN 2] First unseen",
        b"* OK [UIDVALIDITY %b] UIDs valid" % validity,
        b"* OK [UIDNEXT 4] Predicted next UID",
        b"* OK [HIGHESTMODSEQ 3] Highest",
        b"* OK [MAILBOXID (M%d)] Stays with the mailbox" % here.mailbox_id(),
    ]
    assert completion == b"OK [READ-WRITE] SELECT completed"


async def test_examine_is_read_only(here: Office) -> None:
    await here.put(*MESSAGES, flags=8)
    client = await here.login()
    lines, completion = await client.command("EXAMINE INBOX")
    assert completion == b"OK [READ-ONLY] EXAMINE completed"
    assert b"* OK [PERMANENTFLAGS ()] No permanent flags permitted" in lines
    for command in ("STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "UID EXPUNGE 1", "MOVE 1 Sent"):
        assert (await client.completion(command)).startswith("NO [READ-ONLY]")
    await client.ok("CLOSE")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 3)"]


async def test_close_expunges_without_a_word_and_unselect_does_not(here: Office) -> None:
    await here.put(*MESSAGES)
    client, other = await here.login("INBOX"), await here.login("INBOX")
    await client.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("UNSELECT") == []
    assert await client.completion("FETCH 1 FLAGS") == "BAD not permitted without a selected mailbox, or after login"
    await client.ok("SELECT INBOX")
    assert await client.ok("CLOSE") == []
    assert await client.completion("CLOSE") == "BAD not permitted without a selected mailbox, or after login"
    assert b"* 2 EXPUNGE" in await other.ok("NOOP")
    assert here.expunged == [("ana@palomar.test", "INBOX", [2])]


async def test_a_failed_select_leaves_no_mailbox_selected(here: Office) -> None:
    client = await here.login("INBOX")
    assert await client.completion("SELECT nope") == "NO [NONEXISTENT] There is no such mailbox"
    assert (await client.completion("CHECK")).startswith("BAD")
    await client.ok("SELECT Sent")


async def test_a_mailbox_that_another_session_deletes(here: Office) -> None:
    other, client = await here.login(), await here.login()
    await other.ok("CREATE shortlived")
    await here.put(*MESSAGES, mailbox="shortlived")
    await client.ok("SELECT shortlived")
    await other.ok("DELETE shortlived")
    client.send(b"x NOOP\r\n")
    lines = [await client.line() for _ in range(4)]
    assert lines[:3] == [b"* 3 EXPUNGE", b"* 2 EXPUNGE", b"* 1 EXPUNGE"]
    assert (await client.completion("COPY 1 Sent")).startswith("BAD")
    await client.ok("SELECT INBOX")


async def test_a_mailbox_that_another_session_renames(here: Office) -> None:
    other, client = await here.login(), await here.login()
    await other.ok("CREATE before")
    await here.put(*MESSAGES, mailbox="before")
    await client.ok("SELECT before")
    await other.ok("RENAME before after")
    await client.ok("MOVE 1 Sent")
    assert here.moved == [("ana@palomar.test", "after", "Sent", [1])]
