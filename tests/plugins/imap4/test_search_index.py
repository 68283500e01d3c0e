"""The search index: its answers are those of a search without it, whatever happens to its file."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.message import Message
from appliance.mail.search_text import BETWEEN, body_forms, encoded, header_forms
from appliance.mail.text import search_form
from appliance.store.index import (
    BODIES,
    LEAST_OCTETS,
    MOST_BODIES,
    Block,
    BodyText,
    SearchIndex,
    hashes_of,
    make_filter,
    may_hold,
)
from appliance.store.messages import expunge
from appliance.store.model import Filing
from appliance.store.soft import SoftStore
from plugins.imap4 import search_index, search_indexer
from plugins.imap4.protocol_search import Text
from plugins.imap4.search_indexer import SearchIndexer
from plugins.imap4.search_match import Subject, compile_key
from plugins.imap4.view import View
from tests.plugins.imap4.office import ANA, Client, Office

WORDS = ["apple", "Äpfel", "straße", "STRASSE", "müsli", "quetzal", "a", "ab", "zzz", "subject", "ﬁsh", "fish"]
SEARCHES = [
    "BODY apple", 'BODY "äpfe"', "TEXT strasse", "TEXT subject", "BODY subject", "BODY a", "BODY ab", "BODY fish",
    "TEXT zzz BODY quetzal", 'OR BODY apple TEXT "müsli"', "NOT BODY apple", "NOT (TEXT quetzal SUBJECT apple)",
    "BODY hidden", "TEXT nowhere", 'TEXT ""', "BODY apple 10:60 UNSEEN", 'OR SUBJECT "straße" BODY zzz',
    'BODY "apple quetzal"', "BODY apple LARGER 300", "OR BODY zzz LARGER 310",
]  # fmt: skip


def letters(count: int, seed: int = 1) -> list[bytes]:
    chance = random.Random(seed)
    made = []
    for number in range(count):
        words = [" ".join(chance.choices(WORDS, k=4)) for _ in range(3)]
        made.append(
            f"Subject: {words[0]} {number}\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\n\r\n{words[1]}\r\n--x\r\n"
            f"Content-Type: text/html; charset=utf-8\r\n\r\n<p>{words[2]}</p>\r\n--x\r\n"
            "Content-Type: application/x\r\n\r\nhidden\r\n--x--\r\n".encode()
        )
    return made


@pytest.fixture
async def index(here: Office, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SearchIndex]:
    monkeypatch.setattr(search_index, "FEW", 0)
    monkeypatch.setattr(search_indexer, "LEAST_OCTETS", 0)
    soft = SoftStore(here.folder / "index.db")
    made = here.shared.index = SearchIndex(soft)
    yield made
    await made.close()
    await soft.close()


async def fill(here: Office, index: SearchIndex) -> None:
    indexer = SearchIndexer(here.store, index)
    while await indexer.step():
        pass


async def found(client: Client, criteria: str) -> bytes:
    lines = await client.ok(b"SEARCH CHARSET UTF-8 " + criteria.encode())
    (line,) = [line for line in lines if line.startswith(b"* SEARCH")]
    return line


async def test_the_answers_are_those_without_it(here: Office, index: SearchIndex) -> None:
    await here.put(*letters(100))
    client = await here.login("INBOX")
    before = [await found(client, one) for one in SEARCHES]
    await fill(here, index)
    assert index.covered == 96
    assert [await found(client, one) for one in SEARCHES] == before
    assert len({*before}) > 12


async def test_lines_of_the_filing_are_part_of_the_message(here: Office, index: SearchIndex) -> None:
    account = here.store.directory.account(ANA)
    assert account is not None
    for number in range(BODIES):
        filing = Filing(account.id, prefix=b"Delivered-To: box%d@palomar.test\r\n" % number)
        await here.store.accept(Message.parse(b"Subject: x\r\n\r\nbody\r\n"), [filing], [], None, trace_id="t")
    await fill(here, index)
    assert index.covered == BODIES
    client = await here.login("INBOX")
    assert await found(client, "TEXT box7@") == b"* SEARCH 8"
    assert await found(client, "BODY box7@") == b"* SEARCH"


async def test_mail_that_comes_and_goes(here: Office, index: SearchIndex) -> None:
    await here.put(*letters(BODIES))
    await fill(here, index)
    await here.put(b"Subject: new\r\n\r\nunicorn\r\n")
    client = await here.login("INBOX")
    assert await found(client, "BODY unicorn") == b"* SEARCH %d" % (BODIES + 1)
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [1, 2], deleted_only=False))
    await client.ok("NOOP")
    everything = await found(client, "TEXT subject")
    assert everything == b"* SEARCH " + b" ".join(b"%d" % number for number in range(1, BODIES))
    await fill(here, index)
    assert await found(client, "TEXT subject") == everything


async def test_ids_given_anew_after_a_start_are_forgotten(here: Office, index: SearchIndex) -> None:
    await here.put(*letters(2 * BODIES))
    await index.begin(1)
    await fill(here, index)
    await index.begin(BODIES + 5)
    assert index.covered == BODIES
    await fill(here, index)
    assert index.covered == 2 * BODIES


@pytest.mark.parametrize("damage", ["data", "file"])
async def test_a_damaged_index_is_made_anew(here: Office, index: SearchIndex, damage: str) -> None:
    await here.put(*letters(2 * BODIES))
    client = await here.login("INBOX")
    before = await found(client, "BODY apple")
    await fill(here, index)
    await index.close()
    path = here.folder / "index.db"
    if damage == "file":
        path.write_bytes(b"no database" * 1000)
    soft = SoftStore(path)
    here.shared.index = index = SearchIndex(soft)
    if damage == "data":
        await soft.write(lambda db: db.execute("UPDATE block SET data = x'0123' WHERE first_body = 1"))
    await index.begin(2 * BODIES + 1)
    assert await found(client, "BODY apple") == before
    await index.begin(2 * BODIES + 1)  # after a damaged file this succeeds
    await fill(here, index)
    assert index.covered == 2 * BODIES
    assert await found(client, "BODY apple") == before
    await soft.close()


async def test_the_index_is_smaller_than_what_it_is_made_of(here: Office, index: SearchIndex) -> None:
    chance = random.Random(7)
    vocabulary = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(3000)]
    texts = [" ".join(chance.choices(vocabulary, k=600)) for _ in range(4 * BODIES)]
    await here.put(*[f"Subject: x\r\n\r\n{text}\r\n".encode() for text in texts])
    await fill(here, index)
    await index.close()
    assert (here.folder / "index.db").stat().st_size < sum(map(len, texts))


async def test_short_messages_share_a_block_so_that_their_index_is_no_larger_than_they_are(
    here: Office, index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_indexer, "LEAST_OCTETS", LEAST_OCTETS)
    chance = random.Random(7)
    vocabulary = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(3000)]
    texts = [f"Subject: x\r\n\r\n{' '.join(chance.choices(vocabulary, k=40))}\r\n" for _ in range(1000)]
    await here.put(*[text.encode() for text in texts[:20]])
    await fill(here, index)
    assert index.covered == 0
    await here.put(*[text.encode() for text in texts[20:]])
    await fill(here, index)
    assert index.covered == 1000 // MOST_BODIES * MOST_BODIES
    await index.close()
    # Random letters, the hardest to pack; pages of the file that are begun count as well.
    assert (here.folder / "index.db").stat().st_size < sum(map(len, texts))
    await here.put(b"Subject: x\r\n\r\n" + b"unicorn " * LEAST_OCTETS)
    await fill(here, index)
    assert index.covered == 1001


TEXTS = st.lists(st.tuples(st.text("aäbß. \n", max_size=12), st.text("aäbß. \n", max_size=12)), min_size=1, max_size=5)


@given(TEXTS, st.text("aäbß", min_size=1, max_size=4), st.booleans())
def test_a_block_holds_what_a_scan_finds(texts: list[tuple[str, str]], needle: str, header: bool) -> None:
    form = search_form(needle)
    forms = [(search_form(one), search_form(two)) for one, two in texts]
    block = Block.of([BodyText(place, encoded(one), encoded(two)) for place, (one, two) in enumerate(forms)])
    expected = [place for place, (one, two) in enumerate(forms) if form in two or (header and form in one)]
    assert list(block.holding(encoded(form), header=header)) == expected
    assert not expected or may_hold(make_filter(block.data), hashes_of(encoded(form)))


@given(st.binary(max_size=400), st.data())
def test_a_filter_never_denies_what_is_there(data: bytes, chosen: st.DataObject) -> None:
    start = chosen.draw(st.integers(0, len(data)))
    end = chosen.draw(st.integers(start, len(data)))
    assert may_hold(make_filter(data), hashes_of(data[start:end]))


@given(st.binary(max_size=300), st.text("abcß=", min_size=1, max_size=4), st.booleans())
def test_forms_hold_what_the_scan_of_a_message_finds(body: bytes, needle: str, header: bool) -> None:
    kind = b"Subject: abc\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    message = Message.parse(kind + body.replace(b"\r", b"").replace(b"\n", b"\r\n"))
    form = search_form(needle)
    test = compile_key(Text(needle, header), View([1], [0], ()))
    forms = body_forms(message) + (BETWEEN + header_forms(message.header) if header else b"")
    assert (encoded(form) in forms) is test(Subject(0, 0, 0, message.header, message))
