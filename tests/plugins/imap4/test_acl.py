"""ACL: what may be done with mailboxes of others, by every command; and that what is hidden looks like nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.rights import ALL_RIGHTS, normal_rights
from appliance.store import mailboxes, sharing
from appliance.store.accounts import set_quota
from appliance.store.database import Database
from plugins.imap4.protocol_acl import RightsChange
from plugins.imap4.protocol_command import SetAcl, State
from tests.plugins.imap4.office import ANA, LUIS, Office, office
from tests.plugins.imap4.playing import play, show

INBOX = f'"Other Users/{ANA}/INBOX"'
LETTER = b"Subject: one\r\n\r\ntext\r\n"
BODY = LETTER.decode()
GONE = "NO [NONEXISTENT] There is no such mailbox"


async def give(here: Office, rights: str, name: str = "INBOX", whom: str = LUIS, owner: str = ANA) -> None:
    account = here.store.directory.account(owner)
    assert account is not None

    def work(db: Database) -> None:
        sharing.share(db, mailboxes.require_mailbox(db, account.id, name), whom, rights)

    await here.store.write(work)


async def test_entries_are_set_told_and_taken_away(here: Office) -> None:
    ana = await here.login()
    await ana.ok(f"SETACL INBOX {LUIS} lrs")
    await ana.ok(f"SETACL INBOX {LUIS} +te")
    await ana.ok(f"SETACL INBOX {LUIS} -s")
    await ana.ok("SETACL INBOX anyone l")
    await ana.ok(f"SETACL INBOX -{LUIS} e")
    assert await ana.ok("GETACL INBOX") == [
        f"* ACL INBOX {ANA} lrswipkxteacd anyone l {LUIS} lrted -{LUIS} ed".encode()
    ]
    luis = await here.login(account=LUIS)
    assert await luis.ok(f"MYRIGHTS {INBOX}") == [f"* MYRIGHTS {INBOX} lrtd".encode()]
    assert await ana.ok("MYRIGHTS INBOX") == [b"* MYRIGHTS INBOX lrswipkxteacd"]
    await ana.ok(f"DELETEACL INBOX {LUIS}")
    await ana.ok(f"DELETEACL INBOX -{LUIS}")
    await ana.ok("DELETEACL INBOX anyone")
    assert await ana.ok("GETACL INBOX") == [f"* ACL INBOX {ANA} lrswipkxteacd".encode()]
    assert await luis.completion(f"MYRIGHTS {INBOX}") == GONE
    assert await ana.ok(f"LISTRIGHTS INBOX {ANA}") == [f"* LISTRIGHTS INBOX {ANA} lrswipkxteacd".encode()]
    assert await ana.ok("LISTRIGHTS INBOX anyone") == [b'* LISTRIGHTS INBOX anyone "" l r s w i p k x t e a c d']
    assert (await ana.completion("SETACL INBOX nobody@palomar.test lr")).startswith("NO no account")
    assert (await ana.completion(f"SETACL INBOX -{ANA} lr")).startswith("NO [CANNOT] the owner")
    await ana.ok(f"SETACL INBOX {ANA} l")  # the owner keeps all, as LISTRIGHTS says
    assert await ana.ok("MYRIGHTS INBOX") == [b"* MYRIGHTS INBOX lrswipkxteacd"]


async def test_administering_needs_a(here: Office) -> None:
    luis = await here.login(account=LUIS)
    commands = (f"GETACL {INBOX}", f"SETACL {INBOX} {LUIS} {ALL_RIGHTS}", f"DELETEACL {INBOX} {LUIS}",
                f"LISTRIGHTS {INBOX} {LUIS}")  # fmt: skip
    for command in commands:
        assert await luis.completion(command) == GONE
    await give(here, "lr")
    for command in commands:
        assert (await luis.completion(command)).startswith("NO [NOPERM]")
    await give(here, "lra")
    await luis.ok(f"SETACL {INBOX} {LUIS} +s")
    assert await luis.ok(f"MYRIGHTS {INBOX}") == [f"* MYRIGHTS {INBOX} lrsa".encode()]


HIDDEN = [
    "SELECT {}", "EXAMINE {}", "STATUS {} (MESSAGES)", "DELETE {}", "RENAME {} Mine", "GETMETADATA {} /shared/comment",
    'SETMETADATA {} (/private/comment "x")', "GETACL {}", "MYRIGHTS {}", "LISTRIGHTS {} anyone", "SETACL {} anyone l",
    "DELETEACL {} anyone", "COPY 1 {}", "MOVE 1 {}", "UID COPY 1 {}", "APPEND {} {{22+}}\r\n" + BODY,
    'LIST "" {}', 'LIST (SUBSCRIBED) "" {}', 'LSUB "" {}', "SUBSCRIBE {}", "UNSUBSCRIBE {}", "CREATE {}",
    "RENAME Drafts {}", "GETQUOTAROOT {}", "ESEARCH IN (mailboxes {}) ALL", "ESEARCH IN (subtree {}) ALL",
    'APPEND INBOX CATENATE (URL "/Other%20Users/{}/INBOX;UIDVALIDITY=1/;UID=1")',
]  # fmt: skip


@pytest.mark.parametrize("command", HIDDEN)
async def test_a_hidden_mailbox_looks_like_none(here: Office, command: str) -> None:
    await here.put(LETTER)
    await here.put(LETTER, account=LUIS)
    await give(here, "lr", "Archive")  # the account itself is known, then
    said = []
    for name in (INBOX, INBOX.replace("INBOX", "INBOY")):
        luis = await here.login("INBOX", account=LUIS)
        untagged, completion = await luis.command(command.format(name if "CATENATE" not in command else name[13:-7]))
        text = b"\n".join([*untagged, completion]).replace(b"INBOY", b"INBOX")
        said.append(text)
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("rights", "command", "needed"),
    [
        ("l", "SELECT {}", "r"), ("l", "EXAMINE {}", "r"), ("l", "STATUS {} (MESSAGES)", "r"),
        ("lr", "APPEND {} {{22+}}\r\n" + BODY, "i"), ("lr", "COPY 1 {}", "i"), ("lr", "MOVE 1 {}", "i"),
        ("lr", "CREATE {}/New", "k"), ("lr", "DELETE {}/Old", "x"), ("lrk", "RENAME {}/Old {}/New", "x"),
        ("lr", 'SETMETADATA {} (/shared/comment "x")', "w"),
        ("l", 'SETMETADATA {} (/private/comment "x")', "r"), ("l", "GETMETADATA {} /shared/comment", "r"),
    ],
)  # fmt: skip
async def test_one_right_makes_the_difference(here: Office, rights: str, command: str, needed: str) -> None:
    await here.put(LETTER, account=LUIS)
    luis, ana = await here.login("INBOX", account=LUIS), await here.login()
    name = INBOX.strip('"')
    line = command.replace("{}/New", f'"{name}/New"').replace("{}/Old", f'"{name}/Old"').format(INBOX)
    await give(here, rights)
    await ana.ok("CREATE INBOX/Old")  # with the rights of the one above
    assert (await luis.completion(line)).startswith("NO [NOPERM]")
    for mailbox in ("INBOX", "INBOX/Old"):
        await give(here, rights + needed, mailbox)
    await luis.ok(line)


async def test_what_may_be_done_with_messages(here: Office) -> None:
    await here.put(LETTER, LETTER)
    luis = await here.login(account=LUIS)
    await give(here, "lr")
    untagged, completion = await luis.command(f"SELECT {INBOX}")
    assert completion.startswith(b"OK [READ-ONLY]")
    assert b"* OK [PERMANENTFLAGS ()] No permanent flags permitted" in untagged
    await luis.ok("FETCH 1 BODY[]")
    assert b"\\Seen" not in (await luis.ok("FETCH 1 FLAGS"))[0]
    assert (await luis.completion("STORE 1 +FLAGS (\\Seen)")).startswith("NO [READ-ONLY]")

    await give(here, "lrs")
    untagged, completion = await luis.command(f"SELECT {INBOX}")
    assert completion.startswith(b"OK [READ-WRITE]")
    assert b"* OK [PERMANENTFLAGS (\\Seen)] Flags permitted" in untagged
    assert (await luis.completion("STORE 1 +FLAGS (\\Deleted)")).startswith("NO [NOPERM]")
    assert (await luis.completion("STORE 1 +FLAGS (work)")).startswith("NO [NOPERM]")
    assert (await luis.completion("STORE 1 FLAGS (\\Flagged)")).startswith("NO [NOPERM]")
    await luis.ok("STORE 1 +FLAGS (\\Seen \\Deleted work)")  # what may be set is set
    assert (await luis.completion("EXPUNGE")).startswith("NO [NOPERM]")
    assert (await luis.completion("MOVE 1 INBOX")).startswith("NO [NOPERM]")

    ana = await here.login("INBOX")
    assert b"\\Seen" in (await ana.ok("FETCH 1 FLAGS"))[0]  # \Seen is everybody's
    assert b"\\Deleted" not in (await ana.ok("FETCH 1 FLAGS"))[0]
    await ana.ok("STORE 1 FLAGS (\\Flagged \\Deleted)")
    await luis.ok("STORE 1 FLAGS (\\Seen)")  # replaces no more than may be changed
    assert b"FLAGS (\\Seen \\Flagged \\Deleted" in (await ana.ok("FETCH 1 FLAGS"))[-1]

    await luis.ok("CLOSE")  # without `e` it removes nothing
    assert (await ana.ok("STATUS INBOX (MESSAGES)"))[0].endswith(b"(MESSAGES 2)")
    await give(here, "lrswte")
    assert b"* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft \\*)] Flags permitted" in (
        await luis.ok(f"SELECT {INBOX}")
    )
    await luis.ok("EXPUNGE")
    await luis.ok("MOVE 1 INBOX")
    assert here.moved == [(LUIS, INBOX.strip('"'), "INBOX", [1])]
    assert b"* STATUS INBOX (MESSAGES 0)" in await ana.ok("STATUS INBOX (MESSAGES)")


async def test_flags_that_may_not_be_set_do_not_come_along(here: Office) -> None:
    await here.put(LETTER, account=LUIS)
    await give(here, "lrit")
    luis = await here.login("INBOX", account=LUIS)
    await luis.ok("STORE 1 FLAGS (\\Seen \\Deleted \\Flagged work)")
    await luis.ok(f"COPY 1 {INBOX}")
    await luis.ok(f"APPEND {INBOX} (\\Seen \\Deleted work) {{22+}}\r\n{BODY}")
    ana = await here.login("INBOX")
    for line in await ana.ok("FETCH 1:2 FLAGS"):
        assert line.partition(b"FLAGS ")[2] == b"(\\Recent \\Deleted))"
    assert (await ana.ok("STATUS INBOX (UNSEEN)"))[0].endswith(b"(UNSEEN 2)")


async def test_names_as_clients_that_list_them_see_them(here: Office) -> None:
    luis = await here.login(account=LUIS)
    assert await luis.ok("NAMESPACE") == [b'* NAMESPACE (("" "/")) NIL NIL']
    await give(here, "lr")
    assert await luis.ok("NAMESPACE") == [b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL']
    lines = await luis.ok('LIST "" % RETURN (MYRIGHTS)')
    assert b'* LIST (\\Noselect \\HasChildren) "/" "Other Users"' in lines
    assert b"* MYRIGHTS INBOX lrswipkxteacd" in lines
    assert await luis.ok('LIST "Other Users/" * RETURN (MYRIGHTS STATUS (MESSAGES))') == [
        f'* LIST (\\Noselect \\HasChildren) "/" "Other Users/{ANA}"'.encode(),
        f'* LIST (\\HasNoChildren) "/" {INBOX}'.encode(),
        f"* MYRIGHTS {INBOX} lr".encode(),
        f"* STATUS {INBOX} (MESSAGES 0)".encode(),
    ]
    await give(here, "l", "Sent")  # to be looked up, not to be read; and no Sent of one's own
    lines = await luis.ok('LIST "Other Users/" *Sent RETURN (STATUS (MESSAGES) SPECIAL-USE)')
    assert lines == [f'* LIST (\\HasNoChildren) "/" "Other Users/{ANA}/Sent"'.encode()]
    await luis.ok(f"SUBSCRIBE {INBOX}")
    assert f'* LSUB () "/" {INBOX}'.encode() in await luis.ok('LSUB "" *')
    assert f'* LIST (\\HasNoChildren \\Subscribed) "/" {INBOX}'.encode() in await luis.ok('LIST (SUBSCRIBED) "" *')
    await give(here, "")
    assert f'* LIST (\\NonExistent \\HasNoChildren \\Subscribed) "/" {INBOX}'.encode() in (
        await luis.ok('LIST (SUBSCRIBED) "" *')
    )


async def test_a_role_box_that_two_read_and_write(tmp_path: Path) -> None:
    role = "office@palomar.test"
    shared = f'"Shared Folders/{role}/INBOX"'
    async with office(tmp_path, accounts=(ANA, LUIS, role)) as here:
        await here.store.write(lambda db: sharing.set_role(db, role, role=True))
        for whom in (ANA, LUIS):
            await give(here, "lrswite", whom=whom, owner=role)
        ana, luis = await here.login(shared), await here.login(shared, account=LUIS)
        assert await ana.ok("NAMESPACE") == [b'* NAMESPACE (("" "/")) NIL (("Shared Folders/" "/"))']
        await here.put(LETTER, account=role)
        ana.send(b"i IDLE\r\n")
        assert await ana.line() == b"+ idling"
        assert [await ana.line(), await ana.line()] == [b"* 1 EXISTS", b"* 1 RECENT"]
        assert b"* 1 EXISTS" in await luis.ok("NOOP")
        await luis.ok("STORE 1 +FLAGS (\\Answered)")
        assert b"\\Answered" in await ana.line()
        await luis.ok("STORE 1 +FLAGS (\\Deleted)")
        assert b"\\Deleted" in await ana.line()
        await luis.ok("EXPUNGE")
        assert await ana.line() == b"* 1 EXPUNGE"
        ana.send(b"DONE\r\n")
        assert await ana.until(b"i") == ([b"* 0 RECENT"], b"OK IDLE completed")
    async with office(tmp_path, accounts=()) as here:  # a restart keeps it
        ana = await here.login(shared)
        assert await ana.ok(f"MYRIGHTS {shared}") == [f"* MYRIGHTS {shared} lrswited".encode()]


async def test_rights_withdrawn_while_selected_count_from_the_next_command(here: Office) -> None:
    await here.put(LETTER)
    await give(here, "lrswite")
    luis = await here.login(INBOX, account=LUIS)
    await give(here, "lrs")
    assert (await luis.completion("STORE 1 +FLAGS (\\Deleted)")).startswith("NO [NOPERM]")
    await give(here, "lr")
    assert b"* OK [PERMANENTFLAGS ()] No permanent flags permitted" in await luis.ok("NOOP")
    await give(here, "")
    await here.put(LETTER)
    untagged, completion = await luis.command("FETCH 1 FLAGS")
    assert [line.partition(b"]")[0] for line in untagged] == [b"* OK [CLOSED"]
    assert completion == b"NO No mailbox is selected any more"
    assert (await luis.completion("FETCH 1 FLAGS")).startswith("BAD")
    await luis.ok("SELECT INBOX")


async def test_rights_withdrawn_in_idle_end_what_is_told(here: Office) -> None:
    await give(here, "lr")
    luis = await here.login(INBOX, account=LUIS)
    luis.send(b"i IDLE\r\n")
    assert await luis.line() == b"+ idling"
    await give(here, "")
    await here.put(LETTER)
    assert (await luis.line()).startswith(b"* OK [CLOSED]")
    luis.send(b"DONE\r\n")
    assert await luis.until(b"i") == ([], b"OK IDLE completed")


async def test_a_deleted_shared_mailbox_closes_for_others(here: Office) -> None:
    ana = await here.login()
    await ana.ok("CREATE Work")
    await give(here, "lrswitexk", "Work")
    work = INBOX.replace("INBOX", "Work")
    luis = await here.login(work, account=LUIS)
    await ana.ok("RENAME Work Job")
    await luis.ok("NOOP")
    await ana.ok("DELETE Job")
    untagged, _ = await luis.command("NOOP")
    assert untagged[0].startswith(b"* OK [CLOSED]")


async def test_what_goes_to_others_counts_as_theirs(here: Office) -> None:
    await give(here, "lri")
    await here.store.write(lambda db: set_quota(db, ANA, 30))
    luis = await here.login(account=LUIS)
    await luis.ok(f"APPEND {INBOX} {{22+}}\r\n{BODY}")
    assert (await luis.completion(f"APPEND {INBOX} {{22+}}\r\n{BODY}")).startswith("NO [OVERQUOTA]")
    await here.put(LETTER, account=LUIS)
    await luis.ok("SELECT INBOX")
    for verb in ("COPY", "MOVE"):
        assert (await luis.completion(f"{verb} 1 {INBOX}")).startswith("NO [OVERQUOTA]")
    assert await luis.ok(f"GETQUOTAROOT {INBOX}") == [f"* QUOTAROOT {INBOX}".encode()]


async def test_search_in_several_finds_what_may_be_read(here: Office) -> None:
    await here.put(LETTER)
    await here.put(LETTER, mailbox="Sent")
    await give(here, "lr")
    await give(here, "l", "Sent")
    luis = await here.login(account=LUIS)
    lines = await luis.ok('ESEARCH IN (subtree "Other Users") RETURN (COUNT) SUBJECT one')
    assert [line.partition(b"MAILBOX ")[2].partition(b" UIDVALIDITY")[0] for line in lines] == [INBOX.encode()]
    assert await luis.ok("ESEARCH IN (personal) RETURN (COUNT) SUBJECT one") == []


@given(st.text(max_size=12) | st.text(alphabet="lrswipkxteacd+-", max_size=12))
def test_rights_are_read_or_refused(text: str) -> None:
    data = b"a SETACL INBOX ana {%d+}\r\n%b\r\n" % (len(text.encode()), text.encode())
    (said,) = play(data, len(data), State.AUTHENTICATED)
    letters = text[1:] if text[:1] in ("+", "-") else text
    if set(letters) <= set("lrswipkxteacd"):
        mode = text[: len(text) - len(letters)]
        assert said == show(SetAcl(b"a", "SETACL", "INBOX", "ana", RightsChange(mode, normal_rights(letters))))
    else:
        assert said.startswith("a BAD ")
