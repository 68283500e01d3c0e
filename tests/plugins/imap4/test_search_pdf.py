"""Searching in PDF files: extracted by bounded children, kept in the index, and found like any other text."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator

import pytest

from appliance.mail.message import Message
from appliance.mail.search_text import MAX_PDF, pdf_parts
from appliance.store.index import BODIES, SearchIndex
from appliance.store.soft import SoftStore
from appliance.worker import Limits, Worker
from plugins.imap4 import config as config_module
from plugins.imap4 import search_indexer
from plugins.imap4.config import Imap4Config
from plugins.imap4.extraction import EXTRACTOR, Extraction
from plugins.imap4.search_indexer import SearchIndexer
from tests.plugins.imap4.office import Client, Office
from tests.plugins.imap4.pdfs import bombs, letter, pdf

TIGHT = Limits(cpu_s=2, deadline_s=60, memory_octets=96 << 20, output_octets=100_000, input_octets=16 << 20)


class Searching:
    """An office that searches in PDF files."""

    def __init__(self, here: Office) -> None:
        self.here = here
        self.soft = SoftStore(here.folder / "index.db")
        self.index = SearchIndex(self.soft, extractor=EXTRACTOR)
        self.extraction = Extraction(here.store, Worker("appliance.mail.pdf:pdf_text", TIGHT))
        here.shared.index = self.index

    async def look(self) -> None:
        """What the indexer does when it has time."""
        indexer = SearchIndexer(self.here.store, self.index, self.extraction)
        while await indexer.step():
            pass

    async def close(self) -> None:
        await self.extraction.close()
        await self.index.close()
        await self.soft.close()


@pytest.fixture
async def searching(here: Office, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Searching]:
    monkeypatch.setattr(search_indexer, "LEAST_OCTETS", 0)
    made = Searching(here)
    await made.index.begin(1)
    yield made
    await made.close()


async def found(client: Client, criteria: str) -> list[int]:
    lines = await client.ok(b"SEARCH CHARSET UTF-8 " + criteria.encode())
    (line,) = [line for line in lines if line.startswith(b"* SEARCH")]
    return [int(number) for number in line.split()[2:]]


async def test_files_are_found_before_and_after_their_block_is_full(here: Office, searching: Searching) -> None:
    await here.put(letter(pdf("Angebot für Köln", "zweite Seite")), letter(text="Köln"), letter(pdf("a"), pdf("b xyz")))
    client = await here.login("INBOX")
    assert await found(client, 'BODY "köln"') == [2]
    criteria = [
        'BODY "KÖLN"',
        'TEXT "köln"',
        'BODY "zweite seite"',
        "BODY xyz",
        'NOT BODY "köln"',
        "OR SUBJECT x BODY seite",
    ]
    expected = [[1, 2], [1, 2], [1], [3], [3], [1]]
    await searching.look()
    assert searching.index.covered == 0
    assert [await found(client, one) for one in criteria] == expected
    await here.put(*[letter(text="nothing") for _ in range(BODIES - 3)])
    await searching.look()
    assert searching.index.covered == BODIES
    assert await searching.index.extracted() == {}
    assert [await found(client, f"1:3 {one}") for one in criteria] == expected


async def test_the_name_tells_the_type_where_the_type_does_not(here: Office, searching: Searching) -> None:
    await here.put(
        letter(pdf("needle"), kind='application/octet-stream; name="a.PDF"'),
        letter(pdf("needle"), kind='application/octet-stream; name="a.exe"'),
        letter(pdf("needle"), kind="image/pdf"),
    )
    await searching.look()
    client = await here.login("INBOX")
    assert await found(client, "BODY needle") == [1]


async def test_what_was_extracted_outlives_a_restart_and_is_not_extracted_again(
    here: Office, searching: Searching
) -> None:
    await here.put(letter(pdf("needle")))
    await searching.look()
    again = Searching(here)
    await again.index.begin(2)
    again.extraction = Extraction(here.store, Worker("no.such.module:function"))
    await again.look()
    client = await here.login("INBOX")
    assert await found(client, "BODY needle") == [1]
    await again.index.begin(1)  # the id may have been given to another body since
    assert await found(client, "BODY needle") == []
    await again.close()


async def test_an_index_made_without_them_is_made_anew(here: Office, searching: Searching) -> None:
    await here.put(*[letter(pdf(f"needle{number}")) for number in range(BODIES)])
    searching.here.shared.index = plain = SearchIndex(searching.soft)
    await plain.begin(BODIES + 1)
    while await SearchIndexer(here.store, plain).step():
        pass
    assert plain.covered == BODIES
    here.shared.index = searching.index
    await searching.index.begin(BODIES + 1)
    assert searching.index.covered == 0
    await searching.look()
    client = await here.login("INBOX")
    assert await found(client, "BODY needle3") == [4]


BOMBS = bombs()


@pytest.mark.parametrize("deed", BOMBS)
async def test_whatever_a_file_does_the_others_are_found(here: Office, searching: Searching, deed: str) -> None:
    await here.put(letter(BOMBS[deed], pdf("needle")))
    await searching.look()
    client = await here.login("INBOX")
    assert await found(client, "BODY needle") == [1]
    ((_, form),) = (await searching.index.extracted()).items()
    assert len(form) <= TIGHT.output_octets + 100


def test_files_that_are_too_large_are_left_out() -> None:
    octets = 12 * (MAX_PDF // 20)
    message = Message.parse(letter(bytes(octets // 4 * 3), bytes(octets), b"small"))
    sizes = [part.size for part in pdf_parts(message.structure)]
    assert len(sizes) == 2
    assert sizes[0] > octets
    assert sizes[1] < 100


def test_the_setting_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(Imap4Config(search_pdf=True).problems())
    (problem,) = Imap4Config(search_pdf=True, search_index=False).problems()
    assert "search_index = true" in problem.remedy
    monkeypatch.setattr(config_module, "find_spec", lambda _: None)
    (problem,) = Imap4Config(search_pdf=True).problems()
    assert problem.setting == "search_pdf"
    assert "palomar[pdf]" in problem.remedy
    assert importlib.util.find_spec("pypdf")
