"""SEARCH: every key, charsets, decoding, and that the short cuts change no answer."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.mail import search_text
from appliance.mail.charsets import decode
from appliance.mail.message import Message
from appliance.mail.search_text import body_forms, text_reach
from appliance.mail.text import html_to_text, part_octets, search_form
from appliance.store.messages import expunge, set_flags
from plugins.imap4 import search
from plugins.imap4.column_cache import ColumnCache
from plugins.imap4.protocol_search import And, Arrived, Date, Header, Key, Not, Or, Size, Text
from plugins.imap4.search_fields import FieldBlock, by_fields, header_keys, make_blocks
from plugins.imap4.search_filter import may_match, needles
from plugins.imap4.search_match import Subject, compile_key
from plugins.imap4.search_rows import bounds
from plugins.imap4.view import View
from tests.plugins.imap4.office import EPOCH, Client, Office

FIRST = (
    b"From: =?iso-8859-1?q?J=FCrgen_M=FCller?= <jm@kunde.test>\r\nTo: ana@palomar.test\r\n"
    b"Cc: Luis <luis@palomar.test>\r\n"
    b"Subject: Angebot\r\n fuer Taubenhaus\r\nDate: Mon, 1 Jan 2024 23:30:00 -0800\r\nX-Mailer: Test 1.0\r\n\r\n"
    b"Hello pigeons\r\n"
)
SECOND = (
    b"From: luis@palomar.test\r\nTo: ana@palomar.test\r\nBcc: boss@palomar.test\r\n"
    b"Subject: =?utf-8?b?"
    + base64.b64encode("Grüße aus Köln".encode())
    + b"?=\r\nDate: Tue, 2 Jan 2024 10:00:00 +0000\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.b64encode("Die Straße ist schön\r\n".encode())
    + b"\r\n--x\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<p style=3D'color:red'>M&uuml;sli mit =\r\nHonig, quetzal<b>coatlus</b></p>\r\n"
    b"--x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.b64encode(b"hidden treasure")
    + b"\r\n--x--\r\n"
)
THIRD = (
    b"Subject: a letter\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: =?utf-8?q?innere_R=C3=A4ume?=\r\nFrom: x@y\r\n\r\nwithin\r\n--y--\r\n"
)


async def find(client: Client, criteria: str | bytes) -> list[int]:
    wire = criteria.encode() if isinstance(criteria, str) else criteria
    lines = [line for line in await client.ok(b"SEARCH " + wire) if line.startswith(b"* SEARCH")]
    assert len(lines) == 1
    return [int(number) for number in lines[0].split()[2:]]


@pytest.fixture
async def client(here: Office) -> Client:
    await here.put(FIRST, SECOND, THIRD)
    return await here.login("INBOX")


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        ("ALL", [1, 2, 3]),
        ("2:*", [2, 3]),
        ("1,3", [1, 3]),
        ("7:9", []),
        ("UID 2", [2]),
        ("UID 2:99 NOT 3", [2]),
        ("NOT 1:2", [3]),
        ("OR 1 UID 3", [1, 3]),
        ("(OR 1 2) (OR 2 3)", [2]),
        ("SMALLER 200", [3]),
        (f"LARGER {len(FIRST) - 1}", [1, 2]),
        (f"LARGER {len(FIRST)}", [2]),
        ("ON 14-Nov-2023", [1, 2, 3]),
        ("BEFORE 14-Nov-2023", []),
        ("SINCE 15-Nov-2023", []),
        ("SENTON 1-Jan-2024", [1]),
        ("SENTSINCE 2-Jan-2024", [2]),
        ("SENTBEFORE 2-Jan-2024", [1]),
        ("NOT SENTBEFORE 2-Jan-2024", [2, 3]),
        ("FROM kunde.test", [1]),
        ('FROM "JÜRGEN"', [1]),
        ("TO ana CC luis", [1]),
        ("BCC boss", [2]),
        ("SUBJECT fuer", [1]),
        ('SUBJECT "angebot fuer"', [1]),
        ('SUBJECT "köln"', [2]),
        ('SUBJECT "grüsse"', [2]),
        ('SUBJECT "GRÜSSE"', [2]),
        ('HEADER X-Mailer ""', [1]),
        ("HEADER x-mailer test", [1]),
        ('HEADER X-None ""', []),
        ('NOT HEADER Date ""', [3]),
        ("BODY pigeons", [1]),
        ('BODY "schön"', [2]),
        ('BODY "SCHÖN"', [2]),
        ("BODY strasse", [2]),
        ('BODY "müsli"', [2]),
        ('BODY "mit Honig"', [2]),
        ("BODY quetzalcoatlus", [2]),
        ("BODY color", []),
        ("BODY treasure", []),
        ("BODY angebot", []),
        ("TEXT angebot", [1]),
        ('TEXT "räume"', [3]),
        ('BODY "räume"', [3]),
        ("BODY within", [3]),
        ("TEXT kunde.test BODY hello", [1]),
        ("OR FROM luis BODY within", [2, 3]),
        ("NOT BODY pigeons", [2, 3]),
        ('OR SMALLER 200 SUBJECT "köln"', [2, 3]),
        ("OR LARGER 400 BODY pigeons SINCE 1-Jan-2000 1:2", [1, 2]),
        ('BODY ""', [1, 2, 3]),
        ("ANSWERED", []),
        ("UNANSWERED UNFLAGGED UNDELETED UNDRAFT UNSEEN", [1, 2, 3]),
        ("NEW", [1, 2, 3]),
        ("OLD", []),
    ],
)
async def test_keys(client: Client, criteria: str, found: list[int]) -> None:
    assert await find(client, criteria) == found
    if not criteria.isascii():
        assert await find(client, f"CHARSET UTF-8 {criteria}") == found


async def test_flags(here: Office, client: Client) -> None:
    inbox = here.mailbox_id()
    for uid, bits in ((1, 1 | 2), (2, 4 | 8), (3, 16)):
        await here.store.write(lambda db, uid=uid, bits=bits: set_flags(db, inbox, [uid], add=bits))  # type: ignore[misc]
    await client.ok("NOOP")
    for key, found in (
        ("SEEN", [1]),
        ("ANSWERED", [1]),
        ("FLAGGED", [2]),
        ("DELETED", [2]),
        ("DRAFT", [3]),
        ("NEW", [2, 3]),
    ):
        assert await find(client, key) == found
        assert await find(client, f"NOT {key}") == [number for number in (1, 2, 3) if number not in found]
    assert await find(client, "OR SEEN DRAFT UNFLAGGED") == [1, 3]
    assert await find(client, 'OR SEEN SUBJECT "köln"') == [1, 2]


async def test_uid_search_answers_with_uids(here: Office, client: Client) -> None:
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [1], deleted_only=False))
    await client.ok("NOOP")
    assert await client.ok("UID SEARCH ALL") == [b"* SEARCH 2 3"]
    assert await client.ok("SEARCH UID 2") == [b"* SEARCH 1"]
    assert await client.ok("UID SEARCH BODY nothing") == [b"* SEARCH"]


async def test_messages_that_are_gone_do_not_match(here: Office, client: Client) -> None:
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    for criteria in ("SINCE 1-Jan-2000", 'HEADER Subject ""', 'TEXT "e"', "NOT TEXT zzz"):
        assert await find(client, criteria) == [1, 3]


async def test_charsets(client: Client) -> None:
    assert await client.completion("SEARCH CHARSET KOI8-R SUBJECT x") == (
        "NO [BADCHARSET (US-ASCII UTF-8)] The charset is not supported"
    )
    assert await client.completion(b"SEARCH SUBJECT \xff") == "BAD expected a string"
    assert await client.completion(b'SEARCH SUBJECT "\xff"') == "BAD string is not in the charset"
    assert await find(client, b"CHARSET utf-8 SUBJECT {5+}\r\nk\xc3\xb6ln") == [2]


async def test_batches(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BATCH", 2)
    monkeypatch.setattr(search, "TEXT_BATCH_MESSAGES", 1)
    await here.put(*[b"Subject: %d\r\n\r\nText %d\r\n" % (n % 2, n % 3) for n in range(9)])
    client = await here.login("INBOX")
    assert await find(client, "SUBJECT 1") == [2, 4, 6, 8]
    assert await find(client, 'BODY "text 1"') == [2, 5, 8]
    assert await find(client, 'SUBJECT 1 BODY "text 1"') == [2, 8]


# ── the short cuts ────────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = st.sampled_from(
    [
        *(
            "pigeon",
            "PIGEON",
            "pig",
            "eon",
            "igeon",
            "Straße",
            "strasse",
            "ſtrasse",
            "ﬁsh",
            "fish",
            "Ａna",
            "ana",
            "k",
            "K",
            "é",
        ),
        *(
            "e\u0301",
            "café",
            "<b>",
            "</b>",
            "<style>x</style>",
            "&amp;",
            "&#112;",
            "&szlig;",
            "&uuml;",
            "&nbsp;",
            "<",
            ">",
        ),
        *("&", "½", "1/2", "\u00a0", " ", " ", " ", "\r\n", "=", "ü", "İstanbul", "ﬀ", "ff", "№5", "no5"),
    ]
)
TEXTS = st.lists(WORDS, max_size=12).map("".join)
NEEDLES = st.one_of(
    st.sampled_from(
        ["pigeon", "strasse", "Straße", "fish", "ana", "café", "cafe", "amp", "p", "ss", "½", "2", "ü", "no5", "ff"]
    ),
    st.lists(WORDS, min_size=1, max_size=2).map("".join),
)
CHARSETS = st.sampled_from(
    ["utf-8", "iso-8859-1", "windows-1252", "utf-7", "gb18030", "shift_jis", "us-ascii", "nonsense"]
)


def message_of(text: str, charset: str, encoding: str, subtype: str) -> Message:
    octets = text.encode("utf-8" if charset == "nonsense" else charset, "replace")
    if encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets)
    header = f"Content-Type: text/{subtype}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return Message(header.encode(), octets)


@settings(max_examples=400, deadline=None)
@example("&#112;igeon", "pigeon", "utf-8", "8bit", "html")
@example("pig<b>eon</b> & <i>x", "pigeon", "utf-8", "8bit", "html")
@example("fuss &szlig;", "fuss", "utf-8", "quoted-printable", "html")
@example("Ⅷ", "vii", "utf-8", "base64", "plain")
@given(
    TEXTS,
    NEEDLES,
    CHARSETS,
    st.sampled_from(["8bit", "base64", "quoted-printable"]),
    st.sampled_from(["plain", "html"]),
)
def test_short_cuts_in_texts_change_no_answer(
    text: str, needle: str, charset: str, encoding: str, subtype: str
) -> None:
    message = message_of(text, charset, encoding, subtype)
    part = message.structure
    body = decode(part_octets(part, message.text), part.param("charset") or "us-ascii")
    expected = search_form(needle) in search_form(html_to_text(body) if subtype == "html" else body)
    test = compile_key(Text(needle, header=False), View((), (), ()))
    assert test(Subject(0, 0, 0, message.header, message)) is expected


@settings(max_examples=200, deadline=None)
@given(TEXTS, NEEDLES, st.booleans())
def test_short_cuts_in_headers_change_no_answer(text: str, needle: str, encoded: bool) -> None:
    value = " ".join(text.split())
    wire = b"=?utf-8?b?" + base64.b64encode(value.encode()) + b"?=" if encoded and value else value.encode()
    header = b"From: x\r\nSubject: " + wire + b"\r\nTo: y\r\n\r\n"
    test = compile_key(Header(b"subject", needle), View((), (), ()))
    form = search_form(needle)
    assert test(Subject(0, 0, EPOCH, header)) is (form in search_form(value) or not form)


HEADER_KEYS = st.recursive(
    st.one_of(
        st.builds(Header, st.sampled_from([b"subject", b"to"]), NEEDLES | st.just("")),
        st.just(Date("ON", True, 738_000)),
        st.just(Size(True, 5)),
    ),
    lambda keys: st.one_of(
        st.builds(Or, keys, keys), st.builds(Not, keys), st.builds(And, st.lists(keys, min_size=1).map(tuple))
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.booleans(), st.sampled_from([b"Subject", b"TO", b"X"])), max_size=6), HEADER_KEYS)
def test_what_is_left_out_unread_does_not_match(fields: list[tuple[str, bool, bytes]], key: Key) -> None:
    headers = []
    for text, encoded, name in fields:
        value = " ".join(text.split())
        wire = b"=?utf-8?B?" + base64.b64encode(value.encode()) + b"?=" if encoded else value.encode()
        headers.append(name + b": " + wire.replace(b" ", b"\r\n ") + b"\r\nDate: Mon, 2 Jan 2023 00:00 +0000\r\n\r\n")
    test = compile_key(key, View((), (), ()))
    wanted = needles(key)
    possible = may_match(headers, wanted) if wanted else range(len(headers))
    assert list(possible) == sorted(set(possible))
    matching = [place for place, header in enumerate(headers) if test(Subject(place, 9, EPOCH, header))]
    assert [place for place in possible if test(Subject(place, 9, EPOCH, headers[place]))] == matching


def test_few_headers_are_left_to_be_tested() -> None:
    headers = [
        b"Subject: one\r\n",
        b"To: Zwei\r\n",
        b"X: =?utf-8?q?=C3?=\r\n",
        b"X: \xc3\r\n",
        b"",
        b"Subject: zwei\r\n",
    ]
    assert needles(Header(b"subject", "two zwei")) == {b"zwei", b"?"}
    assert may_match(headers, needles(Header(b"subject", "two zwei"))) == [1, 2, 3, 5]
    assert may_match(headers, needles(Header(b"to", ""))) == [1, 3]
    assert may_match(headers, needles(Header(b"to", "é"))) == [2, 3]
    assert not needles(Header(b"to", "a b"))
    assert not needles(Not(Header(b"to", "three")))
    assert not needles(Or(Header(b"to", "three"), Size(True, 1)))
    assert needles(And((Header(b"to", "three"), Size(True, 1), Header(b"x-none", "")))) == {b"x-none"}


async def test_many_headers_are_searched_in_portions(here: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "HEADER_OCTETS", 100)
    monkeypatch.setattr(search, "BATCH", 7)
    await here.put(*[b"Subject: number %d\r\n\r\n" % n for n in range(20)])
    client = await here.login("INBOX")
    assert await find(client, 'SUBJECT "number 1"') == [2, *range(11, 21)]
    assert await find(client, "SUBJECT numbers") == []
    assert await find(client, "3:5,9 SUBJECT number") == [3, 4, 5, 9]


@pytest.mark.parametrize(
    "header",
    [
        b" x\nsubject: y",
        b"Subject: a\r\n y\r\n",
        b"X: 1\r\nSubject-x: y\r\nsubject : y\r\n\r\n",
        b"Subject: y",
        b"\nsubject:y\n ",
    ],
)
def test_fields_in_odd_places_are_found(header: bytes) -> None:
    assert compile_key(Header(b"subject", "y"), View((), (), ()))(Subject(0, 0, 0, header))
    assert not compile_key(Header(b"subject", "z"), View((), (), ()))(Subject(0, 0, 0, header))


# ── attachments ───────────────────────────────────────────────────────────────────────────────────────────────────────

ATTACHED = [
    ("text/plain", 'attachment; filename="a.txt"', "grüße"),
    ("text/csv; charset=utf-16", "attachment", "grüße"),
    ("text/html; charset=iso-8859-1", "attachment", "<p title=wort>gr&uuml;&szlig;e"),
    ('application/octet-stream; name="List.CSV"', "attachment", "grüße"),
    ("application/octet-stream", "attachment; filename*=utf-8''%C3%A4.md", "grüße"),
    ('application/octet-stream; name="x.html"', "inline", "<wort>gr&uuml;&szlig;e</wort>"),
    ("application/json", "attachment", "grüße"),
    ("application/xhtml+xml", "attachment", "<wort/>grüße"),
    ('application/x-download; name="unicode.txt"', "attachment", "\N{BYTE ORDER MARK}grüße"),
    ("message/rfc822", "attachment", "Subject: inner\r\n\r\nGRUESSE? gru\u0308sse"),
    ('application/octet-stream; name="letter.eml"', "attachment", "Subject: inner\r\n\r\ngrüße"),
]


def attached(kind: str, disposition: str, text: str, encoding: str) -> bytes:
    charset = kind.partition("charset=")[2] or ("utf-16" if text.startswith("\N{BYTE ORDER MARK}") else "utf-8")
    octets = text.encode("utf-16-le" if text.startswith("\N{BYTE ORDER MARK}") else charset, "replace")
    if encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return (
        b"Subject: files\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSee below.\r\n--x\r\n"
        + f"Content-Type: {kind}\r\nContent-Disposition: {disposition}\r\n".encode()
        + f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode()
        + octets
        + b"\r\n--x--\r\n"
    )


@pytest.mark.parametrize(("kind", "disposition", "text"), ATTACHED)
@pytest.mark.parametrize("encoding", ["8bit", "base64"])
async def test_texts_of_attachments_are_searched(
    here: Office, kind: str, disposition: str, text: str, encoding: str
) -> None:
    if kind.startswith("message/") and encoding == "base64":
        kind = 'message/rfc822; name="letter.eml"'  # no offset can point into it: it is searched as a file
    await here.put(attached(kind, disposition, text, encoding), b"Subject: none\r\n\r\nnothing\r\n")
    client = await here.login("INBOX")
    assert await find(client, 'BODY "GRÜSSE"') == [1]
    assert await find(client, "TEXT below") == [1]
    assert await find(client, "BODY wort") == []


@pytest.mark.parametrize(
    "kind", ['application/octet-stream; name="a.exe"', "application/octet-stream", 'image/png; name="a.txt"']
)
async def test_what_is_no_text_is_not_searched(here: Office, kind: str) -> None:
    await here.put(attached(kind, "attachment", "words", "8bit"))
    client = await here.login("INBOX")
    assert await find(client, "BODY words") == []


def test_attached_texts_hide_nothing_of_what_people_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_text, "MAX_ATTACHED", 100)
    head = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    attachment = b"--x\r\nContent-Disposition: attachment\r\n\r\n" + b"a" * 96 + b" early late\r\n"
    message = Message.parse(head + 2 * attachment + b"--x\r\n\r\nwritten\r\n--x--\r\n")
    for word, there in ((" ear", True), ("early", False), ("written", True)):
        assert (word.encode() in body_forms(message)) is there
        test = compile_key(Text(word, header=False), View((), (), ()))
        assert test(Subject(0, 0, 0, message.header, message)) is there
    monkeypatch.setattr(search_text, "MAX_TEXT", 0)
    assert text_reach(message.structure) == message.text.index(b"aaa") + 100


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ATTACHED), TEXTS, st.sampled_from(["8bit", "base64"])), min_size=1, max_size=3),
    NEEDLES,
)
def test_attachments_are_folded_as_they_are_scanned(
    files: list[tuple[tuple[str, str, str], str, str]], needle: str
) -> None:
    wholes = [attached(kind, disposition, text, encoding) for (kind, disposition, _), text, encoding in files]
    pieces = [whole.split(b"\r\n--x\r\n", 2)[-1].removesuffix(b"--x--\r\n") for whole in wholes]
    message = Message.parse(wholes[0].removesuffix(b"--x--\r\n") + b"".join(b"--x\r\n" + one for one in pieces[1:]))
    test = compile_key(Text(needle, header=False), View((), (), ()))
    form = search_form(needle).encode()
    assert (form in body_forms(message)) is test(Subject(0, 0, 0, message.header, message))


def test_only_the_part_up_to_the_last_text_is_needed() -> None:
    message = Message.parse(SECOND)
    end = text_reach(message.structure)
    assert b"Honig" in bytes(message.text[:end])
    assert b"octet-stream" not in bytes(message.text[:end])
    inner = Message.parse(THIRD)
    assert bytes(inner.text[: text_reach(inner.structure)]).endswith(b"within")


# ── fields that are kept ──────────────────────────────────────────────────────────────────────────────────────────────


VALUES = st.one_of(
    TEXTS.map(lambda text: " ".join(text.split()).encode()),
    TEXTS.map(lambda text: b"=?utf-8?B?" + base64.b64encode(text.encode()) + b"?="),
    st.binary(max_size=8).map(lambda octets: octets.replace(b"\n", b"\n ")),
)
NAMES = st.sampled_from([b"Subject", b"TO", b"to ", b"Subject-X", b"To\t", b" x", b""])
HEADERS = st.lists(
    st.tuples(NAMES, st.sampled_from([b":", b": ", b" "]), VALUES, st.sampled_from([b"\r\n", b"\n", b""])), max_size=5
).map(lambda fields: b"".join(name + colon + value.replace(b" ", b"\r\n ") + end for name, colon, value, end in fields))
FIELD_KEYS = st.recursive(
    st.builds(Header, st.sampled_from([b"subject", b"to"]), NEEDLES | st.sampled_from(["", "\n", "a", " "])),
    lambda keys: st.one_of(
        st.builds(Or, keys, keys), st.builds(Not, keys), st.builds(And, st.lists(keys, min_size=1).map(tuple))
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(HEADERS, max_size=6), FIELD_KEYS, st.integers(0, 6))
def test_fields_that_are_kept_give_the_same_answer(headers: list[bytes], key: Key, cut: int) -> None:
    view = View(range(11, 11 + len(headers)), [0] * len(headers), ())
    test = compile_key(key, view)
    expected = [place for place, header in enumerate(headers) if test(Subject(place, 9, EPOCH, header))]
    fields = [b"subject", b"to"]
    heads = list(enumerate(headers, 11))
    first, second = make_blocks(heads[:cut], fields), make_blocks(heads[cut:], fields)
    columns = {field: one.followed_by(other) for field, one, other in zip(fields, first, second, strict=True)}
    hits = {one: list(columns[one.field].holding(search_form(one.needle))) for one in header_keys(key)}
    assert list(by_fields(view, key, range(len(headers)), hits)) == expected
    half = range(0, len(headers), 2)
    assert list(by_fields(view, key, list(half), hits)) == [place for place in expected if place in half]


async def test_kept_fields_follow_the_mailbox(here: Office, client: Client) -> None:
    for _ in range(2):
        assert await find(client, "SUBJECT a") == [1, 2, 3]
        assert await find(client, 'OR NOT SUBJECT a FROM "kunde"') == [1]
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    assert await find(client, "SUBJECT a") == [1, 3]  # gone, and not told yet
    assert await find(client, "NOT SUBJECT zzz") == [1, 3]
    await here.put(b"Subject: another\r\n\r\n")
    await client.ok("NOOP")
    assert await find(client, "SUBJECT a") == [1, 2, 3]
    assert await find(client, "SUBJECT another") == [3]
    assert await find(client, "3 SUBJECT another") == [3]


async def test_kept_dates_and_sizes_follow_the_mailbox(here: Office, client: Client) -> None:
    for _ in range(2):
        assert await find(client, "SINCE 1-Jan-2000 LARGER 1") == [1, 2, 3]
        assert await find(client, "OR BEFORE 1-Jan-2000 NOT SMALLER 1000000") == []
    await here.store.write(lambda db: expunge(db, here.mailbox_id(), [2], deleted_only=False))
    assert await find(client, "LARGER 1") == [1, 3]  # gone, and not told yet
    await here.put(b"Subject: another\r\n\r\n")
    assert await find(client, "LARGER 1") == [1, 3]
    await client.ok("NOOP")
    assert await find(client, "LARGER 1") == [1, 2, 3]
    assert await find(client, "SMALLER 25") == [3]


@given(
    st.lists(st.tuples(st.integers(-(10**6), 3 * 10**9), st.integers(0, 9)), max_size=8),
    st.one_of(
        st.builds(Size, st.booleans(), st.integers(0, 9)),
        st.builds(Arrived, st.booleans(), st.integers(0, 2 * 10**9)),
        st.builds(Date, st.sampled_from(["BEFORE", "ON", "SINCE"]), st.just(False), st.integers(719_100, 740_000)),
    ),
)
def test_bounds_of_numbers_match_as_the_keys_do(messages: list[tuple[int, int]], key: Size | Arrived | Date) -> None:
    lowest, highest = bounds(key)
    test = compile_key(key, View((), (), ()))
    for internal_at, size in messages:
        number = size if isinstance(key, Size) else internal_at
        assert (lowest <= number <= highest) is test(Subject(0, size, internal_at, b""))


def block_of(first: int, count: int, size: int = 100) -> FieldBlock:
    return make_blocks([(uid, b"Subject: " + b"x" * size) for uid in range(first, first + count)], [b"subject"])[0]


async def test_fields_are_kept_for_a_while_and_within_bounds() -> None:
    now = 0.0
    cache = ColumnCache(limit=5_000, clock=lambda: now)
    first = cache.column(1, b"subject")
    cache.extend(first, 0, block_of(1, 10), 10)
    cache.extend(first, 0, block_of(1, 10), 10)  # another session was faster
    cache.extend(first, 10, block_of(11, 10), 20)
    assert (len(first.blocks), len(first.blocks[0]), first.covered) == (1, 20, 20)
    now = 1.0
    second = cache.column(2, b"subject")
    cache.extend(second, 0, block_of(1, 30), 30)
    assert not cache.has(1, b"subject")
    assert cache.has(2, b"subject")
    third = cache.column(2, b"to")
    cache.extend(third, 0, block_of(1, 30), 30)  # of the same search: nobody throws out the other
    assert third.too_large
    assert cache.has(2, b"subject")
    assert 0 < cache.octets <= 5_000
    now = 31.0
    cache.drop_unused()
    assert (len(cache), cache.octets) == (0, 0)
