"""METADATA: annotations are kept, told and bounded, and are nobody else's business."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.store.accounts import delete_account
from appliance.store.annotations import MAX_ANNOTATIONS, set_annotations
from appliance.store.sweep import sweep
from plugins.imap4.metadata import MAX_VALUE, chosen
from plugins.imap4.protocol_metadata import Wanted
from tests.plugins.imap4.office import ANA, LUIS, Office


async def test_what_is_set_is_told_in_any_case_of_its_name(here: Office) -> None:
    client = await here.login()
    await client.ok('SETMETADATA INBOX (/PRIVATE/Comment "mine" /shared/comment ~{5+}\r\na\0b\r\n)')
    assert await client.ok("GETMETADATA INBOX /private/comment") == [b'* METADATA INBOX (/private/comment "mine")']
    assert await client.ok("GETMETADATA INBOX (/shared/comment /private/none)") == [
        b"* METADATA INBOX (/shared/comment ~{5}\r\na\0b\r\n)"
    ]
    await client.ok("SETMETADATA INBOX (/private/comment NIL)")
    assert await client.ok("GETMETADATA INBOX /private/comment") == []


async def test_depth_and_size(here: Office) -> None:
    client = await here.login()
    await client.ok('SETMETADATA "" (/private/a "1" /private/a/b "22" /private/a/b/c "333" /private/ab "x")')
    assert await client.ok('GETMETADATA (DEPTH 1) "" /private/a') == [
        b'* METADATA "" (/private/a "1" /private/a/b "22")'
    ]
    assert await client.ok('GETMETADATA "" (DEPTH infinity) /private/a') == [
        b'* METADATA "" (/private/a "1" /private/a/b "22" /private/a/b/c "333")'
    ]
    untagged, completion = await client.command('GETMETADATA (MAXSIZE 1 DEPTH 1) "" /private/a')
    assert untagged == [b'* METADATA "" (/private/a "1")']
    assert completion.startswith(b"OK [METADATA LONGENTRIES 2]")


async def test_private_annotations_are_of_one_account_only(here: Office) -> None:
    ana, luis = await here.login(account=ANA), await here.login(account=LUIS)
    await ana.ok('SETMETADATA "" (/private/comment "hers")')
    assert await luis.ok('GETMETADATA "" /private/comment') == []
    assert (await luis.completion('SETMETADATA "" (/shared/admin "me")')).startswith("NO [NOPERM]")
    assert (await luis.completion("GETMETADATA Nowhere /private/comment")).startswith("NO [NONEXISTENT]")


async def test_list_tells_the_annotations_of_each_mailbox(here: Office) -> None:
    client = await here.login()
    await client.ok("CREATE Work")
    await client.ok('SETMETADATA Work (/shared/color "#b71c1c")')
    lines = await client.ok('LIST "" (INBOX Work) RETURN (METADATA ("/shared/color" /private/comment))')
    assert [line for line in lines if line.startswith(b"* METADATA")] == [
        b"* METADATA INBOX (/shared/color NIL /private/comment NIL)",
        b'* METADATA Work (/shared/color "#b71c1c" /private/comment NIL)',
    ]


async def test_limits_are_named(here: Office) -> None:
    client = await here.login()
    literal = f"{{{MAX_VALUE}+}}\r\n" + "y" * MAX_VALUE
    await client.ok(f'SETMETADATA INBOX (/private/comment "x" /private/x {literal})')
    account = here.store.directory.account(ANA)
    assert account is not None
    many = [(f"/private/n{number}", b"") for number in range(MAX_ANNOTATIONS - 2)]
    await here.store.write(lambda db: set_annotations(db, account.id, here.mailbox_id(), many))
    assert (await client.completion('SETMETADATA INBOX (/private/more "x")')).startswith("NO [METADATA TOOMANY]")
    assert await client.ok("GETMETADATA INBOX /private/more") == []


async def test_annotations_go_with_their_mailbox_and_account(here: Office) -> None:
    client = await here.login()
    await client.ok("CREATE Work")
    await client.ok('SETMETADATA Work (/shared/comment "x")')
    await client.ok('SETMETADATA "" (/private/comment "x")')
    await client.ok("DELETE Work")
    await client.ok("CREATE Work")
    assert await client.ok("GETMETADATA Work /shared/comment") == []
    await here.store.write(lambda db: delete_account(db, ANA))
    while await here.store.write(sweep):
        pass
    assert here.store.peek(lambda db: db.execute("SELECT count(*) FROM annotation").fetchone()[0]) == 0


NAMES = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map(lambda parts: "/private/" + "/".join(parts))


SIZES = st.none() | st.integers(0, 4)


@given(NAMES, st.sampled_from([0, 1, None]), st.dictionaries(NAMES, st.binary(max_size=4)), SIZES)
def test_what_is_chosen_is_below_the_name(
    name: str, depth: int | None, known: dict[str, bytes], size: int | None
) -> None:
    found, longest = chosen(Wanted((name,), depth, size), known.items())
    for entry, value in known.items():
        levels = entry.split("/")[: len(name.split("/"))]
        deeper = entry.count("/") - name.count("/")
        wanted = "/".join(levels) == name and (depth is None or deeper <= depth)
        fits = size is None or len(value) <= size
        assert ((entry, value) in found) is (wanted and fits)
        assert not (wanted and not fits) or longest >= len(value)
